#!/usr/bin/env bash
# Long runs of the simulator, in the release profile: scripts/sim.sh [SEEDS] [FIRST]. Prints what the seeds did, or the
# first seed that failed and how to repeat it. Without arguments: 20 000 seeds from a first one that is new each day.
set -euo pipefail

program=sim.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$scripts/.."

seeds=${1:-20000}
first=${2:-$(date +%Y%m%d)00000}
[[ $seeds =~ ^[0-9]+$ && $first =~ ^[0-9]+$ ]] || fail "SEEDS and FIRST are numbers, not '$seeds' and '$first'"

echo "$program: $seeds seeds from $first"
SIM_SEEDS=$seeds SIM_START=$first cargo test --release --locked --test sim -- --nocapture seeds_keep
