#!/usr/bin/env bash
# Lets libFuzzer look for inputs that break a promise: streams of frames, folders of a journal, bodies of its records,
# messages of replica groups, requests over HTTP.
#   scripts/fuzz.sh                  every target, a minute each
#   scripts/fuzz.sh frames           that target; or segments, entries, members, requests
#   scripts/fuzz.sh segments 3600    for that many seconds; `all 600` is every target
# Works with the stable toolchain. It installs cargo-fuzz when there is none, which takes a minute or two. It prints a line
# for each target; the exit code is 1 when something was found. Inputs that reach something new are kept in
# target/fuzz/corpus, so that the next run goes on from there; those that break something in target/fuzz/found.
set -euo pipefail

program=fuzz.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$project"

version=0.13.2
folder=${CARGO_TARGET_DIR:-$project/target}/fuzz

read_arguments() {
    case ${1:-all} in
    -h | --help)
        sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    all) targets=(frames segments entries members requests) ;;
    frames | segments | entries | members | requests) targets=("$1") ;;
    *) fail_usage "there is no target '$1'" "there are: frames, segments, entries, members, requests" ;;
    esac
    seconds=${2:-60}
    is_number "$seconds" 1 999999999 || fail_usage "'$seconds' is not a number of seconds" "such as 600"
}

install_tool() {
    ! cargo fuzz --version >/dev/null 2>&1 || return 0
    note "there is no cargo-fuzz; installing version $version with cargo"
    cargo install --quiet --locked cargo-fuzz --version "$version" ||
        fail "cargo-fuzz could not be installed" "what cargo says stands above"
    cargo fuzz --version >/dev/null 2>&1 ||
        fail "cargo does not find the cargo-fuzz that was just installed" "put cargo's bin folder into PATH"
}

# seed NAME BYTES: an initial input, as printf writes it.
seed() {
    printf '%b' "$2" >"$seeds/$1"
}

# Frames: the vectors, whose checksums are corrected after mutations. Each begins like the input of
# tests/fuzz/frames.rs; some are marked as large frames.
make_frames() {
    local file bytes count=0
    for file in good bad routing; do
        while IFS= read -r bytes; do
            count=$((count + 1))
            seed "$file-$count" "\\x13\\x00\\x01$bytes"
            ((count % 10 > 0)) || seed "$file-$count-large" "\\x33\\x00\\x01$bytes"
        done < <(sed -n '/^hex: /{ s///; s/../\\x&/g; p; }' "tests/vectors/$file.txt")
    done
}

# Segments: sequences of steps of tests/fuzz/segments.rs.
make_segments() {
    local life='\x0e\x01\x03\x01\x02\x03\x01' entries='\x00\x05\x00\x09\x00\x11' next='\x06\x00'
    seed life "\\x00$life$life$life"
    seed entries "\\x00$entries$next$entries$next$entries"
    seed checkpoint "\\x00$entries\\x0c$entries$next$life"
    seed crash "\\x00$life\\x13\\x05$life\\x13\\x07$entries\\x10\\x00\\x03\\x00\\x64\\x02\\x03\\x01"
    seed again "\\x00$entries\\x05\\x09\\x40\\x01\\x80\\x00$entries"
}

# Entries: a time, then one of each kind.
make_entries() {
    local time='\x00\x00\x00\x00\x00\x00\x00\x09' id='\x00\x00\x00\x00\x00\x00\x00\x07'
    seed trim "$time\\x04$id$id\\x05"
    seed delete "$time\\x02$id\\x42\\x01a"
    seed create "$time\\x01\\x01a$id\\x00\\x00\\x00\\x01$id$id$id\\x04"
    seed publish "$time\\x03$id\\x02\\x01\\x06\\x00\\x00\\x00\\x02\\x00a\\xc3\\x01a$id\\x00\\x00\\x00\\x01$id\\x02\\x01\\x01b"
}

# Members: steps of tests/replica/mob.rs. Ticks until one of them leads, then whatever comes.
make_members() {
    local tick='\x00\x0f' deliver='\x00\x02' written='\x00\x09\x63'
    seed ticks "\\x00\\x00$tick$tick$tick$tick$tick$tick$tick$tick$deliver$deliver$deliver$written$written$deliver"
    seed lag "\\x32\\x01$tick$tick$tick$tick$tick$tick$tick$tick$deliver$deliver$written\\x01\\x00\\x05\\x07\\x03"
}

# Requests: bodies, headers, queries and ids; the first byte chooses, as in gateway/src/fuzz.rs.
make_requests() {
    seed array '\x00[{"payload":"x","key":"k","timestamp_us":7},{"payload_b64":"/wA="}]'
    seed lines '\x01{"payload":"x","offset":1,"topic":"t"}\n{"gap":[1,2],"topic":"t"}\n{"payload":"y"}'
    seed headers '\x01{"payload":"x","headers":[{"name":"n","value_b64":"/w=="}]}'
    seed raw '\x03dht-key:k\ndht-timestamp-us:17\ndht-header-n:v\n\nbody'
    seed query '\x04from=2026-11-22T10:00:00Z&limit=7&wait=500ms'
    seed stream '\x04from=5m&credit=2'
    seed event '\x0500000000000000ab-3-17'
    seed settings '\x06{"retention":{"records":5,"bytes":null,"age_ms":1}}'
    seed credit '\x07{"credit":5}'
}

# fuzz TARGET: runs the target and prints its line.
fuzz() {
    local target=$1 length=4096 features=() output code=0 runs rate found
    seeds=$folder/seeds/$target
    mkdir -p "$seeds" "$folder/corpus/$target" "$folder/found"
    make_"$target"
    [[ $target != segments ]] || length=400
    [[ $target != requests ]] || features=(--features gateway)
    output=$folder/$target.log
    cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none --target-dir "$folder" \
        ${features[@]+"${features[@]}"} "$target" \
        "$folder/corpus/$target" "$seeds" -- -max_total_time="$seconds" -max_len="$length" -timeout=10 \
        -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$folder/found/$target-" >"$output" 2>&1 || code=$?
    read_stat number_of_executed_units && runs=$value
    read_stat average_exec_per_sec && rate=$value
    if ((code == 0)); then
        printf '%-9s %s runs in %s s, %s a second: nothing found\n' "$target" "$runs" "$seconds" "$rate"
        return
    fi
    found=$(sed -n 's/^.*Test unit written to //p' "$output" | tail -n 1)
    if [[ -z $found ]]; then
        cat "$output" >&2
        fail "the target $target could not be built or run" "what was said stands above"
    fi
    sed -n '/panicked at/,/stack backtrace/p; /^==[0-9]*== ERROR/p; /^SUMMARY/p' "$output" >&2
    printf '%-9s %s runs: FOUND %s\n' "$target" "${runs:-some}" "$found"
    printf '          again: cargo fuzz run --fuzz-dir tests/fuzz -s none --target-dir %q %s %q\n' \
        "$folder" "${features[*]-}${features:+ }$target" "$found"
    has_found=yes
}

# $value: a figure that libFuzzer reports at its end; empty if it is missing.
read_stat() {
    value=$(sed -n "s/^stat::$1: *//p" "$output" | tail -n 1)
}

read_arguments "$@"
command -v cargo >/dev/null || fail "there is no cargo" "install a Rust toolchain: https://rustup.rs"
install_tool
# Uses the versions of the dependencies that ship; cargo adds those that only libFuzzer needs.
[[ ! Cargo.lock -nt tests/fuzz/Cargo.lock ]] || cp Cargo.lock tests/fuzz/Cargo.lock
note "building, then ${seconds} s for each of: ${targets[*]}"
has_found=
for target in "${targets[@]}"; do
    fuzz "$target"
done
[[ -z $has_found ]]
