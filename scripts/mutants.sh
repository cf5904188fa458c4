#!/usr/bin/env bash
# Changes the core (the geometry, the node, topics, the wire) in one small place at a time, in a copy of the project, and
# lists the changes that no unit test notices: cargo-mutants replaces a function's result, an operator, a condition.
#   scripts/mutants.sh            a random one of 100 shards, about 35 mutants; half a minute for each
#   scripts/mutants.sh 17/100     shard 17 of 100; they are numbered from 0, and each mutant is in one of them
#   scripts/mutants.sh 0/1        all mutants, more than a day
# .cargo/mutants.toml says which files are mutated, with which tests, and what is left out. It installs cargo-mutants when
# there is none. What it wrote about each mutant is in target/mutants/mutants.out. The exit code is 1 when one survived.
set -euo pipefail

program=mutants.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$project"

version=27.1.0
shards=100
folder=${CARGO_TARGET_DIR:-$project/target}/mutants
report=$folder/mutants.out
# A mutant may allocate without end. This is more than the compiler needs, in KiB.
memory_kib=8388608

read_arguments() {
    local index=${1:-} count
    case $index in
    -h | --help)
        sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    '') index=$((RANDOM % shards))/$shards ;;
    esac
    (($# < 2)) || fail_usage "unexpected argument '$2'"
    count=${index#*/}
    if ! [[ $index == */* ]] || ! is_number "$count" 1 99999 || ! is_number "${index%/*}" 0 $((count - 1)); then
        fail_usage "'$index' is not a shard" "such as 0/$shards to $((shards - 1))/$shards"
    fi
    shard=$index
}

install_tool() {
    ! cargo mutants --version >/dev/null 2>&1 || return 0
    note "there is no cargo-mutants; installing version $version with cargo"
    cargo install --quiet --locked cargo-mutants --version "$version" ||
        fail "cargo-mutants could not be installed" "what cargo says stands above"
    cargo mutants --version >/dev/null 2>&1 ||
        fail "cargo does not find the cargo-mutants that was just installed" "put cargo's bin folder into PATH"
}

# $count: the number of mutants with that outcome.
read_outcome() {
    count=0
    [[ ! -s $report/$1.txt ]] || count=$(grep -c '' "$report/$1.txt")
}

read_arguments "$@"
command -v cargo >/dev/null || fail "there is no cargo" "install a Rust toolchain: https://rustup.rs"
install_tool
mkdir -p "$folder"
note "shard $shard"
export CARGO_PROFILE_TEST_DEBUG=0 CARGO_INCREMENTAL=1
code=0
(
    ulimit -v "$memory_kib" 2>/dev/null || true
    exec cargo mutants --workspace --shard "$shard" --sharding round-robin --output "$folder" --colors never
) || code=$?
case $code in
0 | 2 | 3) ;; # none, some survived; some ran into the time limit, which counts as noticed
*) fail "cargo mutants failed with exit code $code" "what it says stands above" ;;
esac
read_outcome caught && caught=$count
read_outcome timeout && caught=$((caught + count))
read_outcome unviable && unviable=$count
read_outcome missed && missed=$count
note "$((caught + missed)) mutants compiled, $unviable did not; $caught noticed, $missed survived"
((missed == 0)) || {
    sed 's/^/  survived: /' "$report/missed.txt"
    note "add the test that fails with each of them, or its reason to exclude_re in .cargo/mutants.toml"
    exit 1
}
