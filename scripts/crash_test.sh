#!/usr/bin/env bash
# Kills a real node again and again, at random moments and under load, and reads everything back after each time.
#   scripts/crash_test.sh            a thousand times: an hour, since what is read back grows to millions
#   scripts/crash_test.sh 200        that many times
# Writers publish with sequence numbers and continue through the crashes, and a subscriber follows them. All that was
# acknowledged must exist: once, at its offset, with its bytes, in the order of sending. It stops at the first violation
# of that. CRASH_SEED=N selects the moments; TMPDIR selects the disk.
set -euo pipefail

program=crash_test.sh
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"
cd "$project"

case ${1:-} in
-h | --help)
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
rounds=${1:-1000}
is_number "$rounds" 1 999999999 || fail_usage "'$rounds' is not a number of crashes" "such as 200"
note "building"
cargo test --release --locked --quiet --no-run --test process
CRASH_ROUNDS=$rounds cargo test --release --locked --quiet --test process after_any_kill -- --nocapture ||
    fail "what was acknowledged is not all there" "what was found stands above"
note "$rounds crashes in $SECONDS s"
