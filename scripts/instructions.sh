#!/usr/bin/env bash
# Counts the user instructions that a node spends on an operation, with valgrind (callgrind).
#   scripts/instructions.sh            with programs that it builds
#   scripts/instructions.sh FOLDER     with dht-node and floor from there
# One node in memory, records of 64 bytes; the clients' instructions do not count. Each line is the difference of two loads
# of different length, divided by the operations that one has more. It takes about two minutes.
set -euo pipefail

program=instructions.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$project"

port=6590
creates=20000

case ${1:-} in
-h | --help)
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
'')
    folder=${CARGO_TARGET_DIR:-$project/target}/release
    cargo build --release --locked --quiet -p dht-node -p dht-floor
    ;;
*) folder=$1 ;;
esac
command -v valgrind >/dev/null || fail "valgrind is not installed"

counts=$(mktemp -d)
valgrind --tool=callgrind --callgrind-out-file="$counts/out" "$folder/dht-node" \
    --id 0 --dimension 0 --base-port "$port" --in-memory >"$counts/log" 2>&1 &
node=$!
trap 'kill "$node" 2>/dev/null || true; wait "$node" || true; rm -r "$counts"' EXIT

# $instructions: those of the node since the last call.
read_instructions() {
    callgrind_control --dump "$node" >"$counts/control" 2>&1
    part=$((part + 1))
    instructions=$(sed -n 's/^summary: //p' "$counts/out.$part")
}

# $operations: those of a load with these options.
load() {
    operations=$("$folder/floor" load --addr "127.0.0.1:$port" "$@")
    operations=${operations#*requests=}
    operations=${operations%% *}
}

# $each: the instructions of an operation of a load with these options.
measure() {
    load --secs 0.3 "$@"
    read_instructions
    load --secs 1 "$@"
    local few=$operations
    read_instructions
    local of_few=$instructions
    load --secs 4 "$@"
    read_instructions
    each=$(((instructions - of_few) / (operations - few)))
}

# Measures as `measure` does, and prints a line with the name $1.
show() {
    local name=$1
    shift
    measure "$@"
    print "$name"
}

print() {
    printf '%-42s %6d\n' "$1" "$each"
}

part=0
for ((tries = 0; tries < 100; tries++)); do
    "$folder/floor" load --addr "127.0.0.1:$port" --secs 0 2>/dev/null && break
    sleep 0.2
done
show "PUBLISH, 1 x 1" --conns 1 --window 1
show "PUBLISH, 8 x 64"
published=$each
show "PUBLISH, 8 x 64, 8 topics" --topics 8
show "PUBLISH, 8 x 64, sequenced" --operation sequenced
show "FETCH of one record, 8 x 64" --operation fetch
measure --subscribers 1
each=$((each - published))
print "DELIVER of a record to one subscriber"
read_instructions
"$folder/floor" load --addr "127.0.0.1:$port" --secs 0 --topic created --topics "$creates"
read_instructions
each=$((instructions / creates))
print "CREATE"
