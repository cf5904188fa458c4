#!/usr/bin/env bash
# Kills a real node again and again, at random moments and under load, and reads everything back after each time.
#   scripts/crash_test.sh            a thousand times: an hour, since what is read back grows to millions
#   scripts/crash_test.sh 200        that many times
#   scripts/crash_test.sh --replicated 200
#                                    the same for a cube of four nodes in which three keep each topic: each time the
#                                    leader of a random topic is killed, and no client may get an error
# Writers publish with sequence numbers and continue through the crashes, and a subscriber follows them. All that was
# acknowledged must exist: once, at its offset, with its bytes, in the order of sending. It stops at the first violation
# of that. CRASH_SEED=N, or REPLICATED_SEED=N, selects the moments; TMPDIR selects the disk.
set -euo pipefail

program=crash_test.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$project"

case ${1:-} in
-h | --help)
    sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
replicated=
if [[ ${1:-} == --replicated ]]; then
    replicated=yes
    shift
fi
rounds=${1:-1000}
is_number "$rounds" 1 999999999 || fail_usage "'$rounds' is not a number of crashes" "such as 200"
note "building"
cargo test --release --locked --quiet --no-run --test process
which=after_any_kill
[[ -z $replicated ]] || which=whichever_leader
export CRASH_ROUNDS=$rounds REPLICATED_ROUNDS=$rounds
cargo test --release --locked --quiet --test process "$which" -- --nocapture ||
    fail "what was acknowledged is not all there" "what was found stands above"
note "$rounds crashes in $SECONDS s"
