#!/usr/bin/env bash
# Shows that the tests find the bugs that are planted in the program on purpose (src/planted.rs), one at a time.
#   scripts/planted_bugs.sh             all of them
#   scripts/planted_bugs.sh WORD…       those whose names hold one of the words
#   scripts/planted_bugs.sh --check     none: only whether the table below and the program name the same bugs
# The tests are built once, in target/planted. Each bug has a suite that must find it within PLANTED_LIMIT seconds (300).
# The exit code is 1 when a bug was not found.
set -euo pipefail

program=planted_bugs.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$project"

limit=${PLANTED_LIMIT:-300}

# Each line: the suite that must find a bug, and the bug's name. A suite is `journal`, `replica`, `sim`, `process:WORD` or
# `unit:WORD`, where WORD is a part of the names of its tests.
table() {
    cat <<'TABLE'
journal             acknowledged before the sync
journal             recovery keeps the epochs
journal             founding forgotten before the epochs begin
journal             copies in a recovered backup stay
journal             log written after the sync
journal             segment left before its sync
journal             watermark ahead of the sync
journal             tail not written again
journal             tail cut before its sync
journal             overwritten entries applied
journal             applied beyond what is committed
journal             checkpoint without bodies that are not applied
journal             log not kept for others
journal             log not kept for a copy
journal             a group's state with the position of another
journal             log not compared with the watermark
journal             checkpoint ahead of the log's sync
journal             checkpoint ahead of its indexes
journal             file renamed before its sync
journal             segments removed before the checkpoint
journal             originals removed too early
journal             cleaned before a checkpoint
journal             name of a segment not synced
journal             copies renamed before their sync
journal             copied state ahead of its records
journal             watermark copied last
journal             removed checkpoint not noticed
journal             recycled segment not noticed
journal             growing segment read once
journal             manifest ahead of its files
journal             repair keeps no originals
journal             repair keeps the epochs
journal             restored topics keep their epochs
journal             restore over before its checkpoint
journal             lossy start keeps the epochs
journal             journal not told of void batches
replica             vote given before it is durable
replica             append acknowledged before it is durable
replica             persisted before it is durable
replica             commit index ahead of its entries
replica             heartbeat answers wait for the disk
replica             equal election ranks
replica             no vote hold after a start
replica             lease from the answer's time
replica             lease after the hand-over began
replica             reads before the own first entry is applied
replica             wiped folder votes at once
replica             recovering without both terms
replica             no target
replica             messages of another founding
unit:founding       entries from before the founding are sent
unit:founding       member of a dropped copy
replica             state installed before all writes are durable
replica             entries taken while a state is installed
sim                 journal not told of records
sim                 each member trims by its own clock
unit:turn           checkpoint while a state is installed
unit:node::members  producers missing in a copy
unit:node::members  free places of a copy in another order
process:larger      journal asked before it is told
unit:storage        given back before the sync
unit:storage        given back in another order
unit:storage        segment turned before the sync
unit:node::tests    deletes not counted while the disk hangs
unit:node::tests    ages by the machine's clock
unit:node::tests    clock believed after a start
unit:node::tests    stall noticed after its event
unit:node::tests    loss taken for a refusal
unit:node::members  followers talk over the home
TABLE
}

# The names of the bugs in the program, sorted; each may be planted at several places.
planted_names() {
    # A call that was broken into lines has its name on the line after.
    git ls-files -z -- '*.rs' | xargs -0 cat | tr -s '\n ' ' ' | grep -o 'planted!( *"[^"]*"' | cut -d '"' -f 2 | sort -u
}

table_names() {
    table | sed 's/^[^ ]* *//' | sort
}

# Fails when the table and the program do not name the same bugs, each once in the table.
check_names() {
    local difference
    # Only grep tells whether there is one: with pipefail, that of diff would end in the branch of none.
    difference=$({ diff <(table_names) <(planted_names) || true; } | grep '^[<>]') || {
        note "$(table_names | grep -c '') bugs are planted"
        return 0
    }
    sed "s/^</  only in the table, or twice:/; s/^>/  only in the program:/" <<<"$difference"
    fail "the table of scripts/$program and the bugs in the program differ" "bring the table up to date"
}

# Runs a suite once as every day, so that each of its tests has its turn, and then with other seeds for as long as it may.
run_suite() {
    local arguments began=$SECONDS
    case $1 in
    journal) arguments=(--test journal) ;;
    replica) arguments=(--test replica) ;;
    sim) arguments=(--test sim seeds) ;;
    process:*) arguments=(--test process "${1#process:}") ;;
    unit:*) arguments=(--lib "${1#unit:}") ;;
    esac
    timeout "$limit" cargo test --locked -p dht-node "${arguments[@]}" || return
    case $1 in
    replica | sim)
        REPLICA_START=100000 REPLICA_SEEDS=1000000 SIM_START=100000 SIM_SEEDS=1000000 \
            timeout "$((limit - SECONDS + began + 1))" cargo test --locked -p dht-node "${arguments[@]}"
        ;;
    esac
}

# Prints which test of a suite finds a bug, and after how many seconds.
hunt() {
    local suite=$1 name=$2 began=$SECONDS code=0 finder
    PLANTED_BUG=$name run_suite "$suite" >"$output" 2>&1 || code=$?
    # On a busy machine the time may be up (124) after a test has failed and before all are through.
    finder=$(sed -n "s/^---- \(.*\) stdout ----$/\1/p; s/^test \(.*\) \.\.\. FAILED$/\1/p" "$output" | head -n 1)
    if [[ -n $finder ]] || ((code != 0 && code != 124)); then
        printf '%-42s %4d s  %s: %s\n' "$name" $((SECONDS - began)) "${suite%%:*}" "${finder:-it breaks off}"
    else
        printf '%-42s %4s    NOT FOUND by %s\n' "$name" - "$suite"
        missed=$((missed + 1))
    fi
}

is_asked_for() {
    local word
    ((${#words[@]} > 0)) || return 0
    for word in "${words[@]}"; do
        [[ $1 != *"$word"* ]] || return 0
    done
    return 1
}

[[ ${1:-} != -h && ${1:-} != --help ]] || {
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
}
is_number "$limit" 1 100000 || fail_usage "PLANTED_LIMIT=$limit is not a number of seconds"
check_names
[[ ${1:-} != --check ]] || exit 0
words=("$@") bugs=() output=$(mktemp "${TMPDIR:-/tmp}/planted.XXXXXX") missed=0
trap 'rm -f "$output"' EXIT
while read -r suite name; do
    ! is_asked_for "$name" || bugs+=("$suite $name")
done < <(table)
((${#bugs[@]} > 0)) || fail_usage "no bug has such a name"

export CARGO_TARGET_DIR=$project/target/planted CARGO_PROFILE_TEST_DEBUG=0
export RUSTFLAGS="${RUSTFLAGS:-} --cfg planted_bugs"
note "building the tests with all bugs, and running those of the journal without any"
{
    cargo test --quiet --locked -p dht-node --lib --test journal --test replica --test sim --test process --no-run &&
        run_suite journal
} >"$output" 2>&1 || {
    cat "$output" >&2
    fail "the tests do not compile with the bugs, or those of the journal fail without any"
}
for bug in "${bugs[@]}"; do
    hunt "${bug%% *}" "${bug#* }"
done
note "$((${#bugs[@]} - missed)) of ${#bugs[@]} found"
((missed == 0))
