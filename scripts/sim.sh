#!/usr/bin/env bash
# Simulates the whole cube for a long time: other seeds each time, in release, on two cores.
#   scripts/sim.sh            ten minutes
#   scripts/sim.sh 50000      that many seeds
#   scripts/sim.sh 120m       that many minutes
# It prints what was simulated and stops at the first seed that fails, with its last events and how to repeat it.
# SIM_START=N begins at seed N instead of a random one.
set -euo pipefail

program=sim.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$project"

# Seeds between two looks at the clock.
round=4000

usage() {
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

read_amount() {
    local amount=${1:-10m}
    seeds_left=1000000000 until=$((SECONDS + 1000000000))
    case $amount in
    -h | --help)
        usage
        exit 0
        ;;
    *m)
        is_number "${amount%m}" 1 1000000 || fail_usage "'$amount' is not a number of minutes" "such as 10m"
        until=$((SECONDS + 60 * ${amount%m}))
        ;;
    *)
        is_number "$amount" 1 999999999 || fail_usage "'$amount' is neither a number of seeds nor of minutes" "such as 5000 or 10m"
        seeds_left=$amount
        ;;
    esac
}

# run_round COUNT: so many seeds from $start on; their totals are added to $sums.
run_round() {
    local output code=0
    output=$(SIM_START=$start SIM_SEEDS=$1 cargo test --release --locked --quiet --test sim seeds -- --nocapture 2>&1) || code=$?
    if ((code != 0)); then
        printf '%s\n' "$output" >&2
        fail "a seed failed" "its last events stand above, with the command that repeats it"
    fi
    sums=$(awk 'NF == 2 && $2 ~ /^[0-9]+$/ { if (!($1 in sum)) names[++count] = $1; sum[$1] += $2 }
        END { for (i = 1; i <= count; i++) print names[i], sum[names[i]] }' <<<"$sums"$'\n'"$output")
}

print_totals() {
    awk '{ printf "%-18s %s\n", $1, $2; sum[$1] = $2 } $1 == "virtual_ms" { printf "%-18s %.1f\n", "virtual_hours", $2 / 3600000 }
        END { printf "in short: %d acknowledged publishes, %d crashes of nodes and %d of disks, %d changes of links\n",
            sum["acked_batches"], sum["crashes"], sum["disk_crashes"], sum["links_up"] + sum["links_down"] }' <<<"$sums"
}

read_amount "$@"
start=${SIM_START:-$((RANDOM * 30000 + RANDOM))}
first=$start sums=
note "building"
cargo test --release --locked --quiet --no-run --test sim
note "seeds from $start on"
while ((seeds_left > 0 && SECONDS < until)); do
    count=$((seeds_left < round ? seeds_left : round))
    run_round "$count"
    start=$((start + count)) seeds_left=$((seeds_left - count))
    note "$((start - first)) seeds in $SECONDS s"
done
print_totals
