#!/usr/bin/env bash
# The benchmark: the speed of create, publish, subscribe and query with 1 to 1000 topics.
#
# It runs `dht-cli bench sweep` on a running cube, or on one of its own that it stops afterwards, and writes a report to
# a folder in bench-results/. Options that it does not know are passed to `bench sweep`.
set -euo pipefail

program=benchmark.sh
caller_folder=$PWD
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"

readonly server_default=127.0.0.1:5000

usage() {
    cat <<'END'
Usage: scripts/benchmark.sh [options] [options of dht-cli bench sweep]

Builds what is needed, measures create, publish, subscribe and query for 1 to 1000 topics, and leaves a report with
tables and pictures in a folder. It takes about four minutes, with --sync both eight.

  --quick                      half a minute: five numbers of topics, each measured once and shortly
  -s, --server HOST:PORT[,…]   measure the running cube of that node [env: DHT_SERVER]
  --own                        start a cube of its own even though one answers at 127.0.0.1:5000
  --dimension D                size of the cube of its own, 2^D nodes, D from 0 to 10 [default: 3]
  --sync WHEN                  of the cube of its own: always (each acknowledged record is on disk), interval=100ms,
                               memory (nothing is on disk), or both (always, then memory, each with its report)
                               [default: always]
  --replicas N                 start a cube of its own in which N nodes keep each topic, 1 or 3 [default: that of
                               dht-node]
  --out DIR                    folder of the report [default: bench-results/DATE-sweep in the project]
  -h, --help                   this text

With neither -s, DHT_SERVER nor --own it measures the cube at 127.0.0.1:5000, if there is one. Otherwise it starts one
on free ports and removes it afterwards; a cube that it did not start it leaves alone.

All other words go to `dht-cli bench sweep`, and count more than --quick: scripts/benchmark.sh --quick -t publish -d 2s.
They are listed by: dht-cli bench sweep --help

Environment:
  DHT_BIN_DIR                  folder with dht-node and dht-cli to use instead of building them

Exit codes: those of dht-cli bench (0 done · 5 there were errors · 99 a --require was not met · 130 interrupted) ·
1 it could not be measured · 2 bad usage
END
}

# --- settings -----------------------------------------------------------------------------------------------------

# $passed: the arguments for `bench sweep`.
parse_arguments() {
    server='' dimension=3 out='' quick='' own='' sync='' replicas='' passed=()
    while (($# > 0)); do
        case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --quick) quick=yes ;;
        --own) own=yes ;;
        -s | --server | --dimension | --out | --sync | --replicas)
            (($# >= 2)) || fail_usage "$1 needs a value"
            set_option "$1" "$2"
            shift
            ;;
        --server=* | --dimension=* | --out=* | --sync=* | --replicas=*) set_option "${1%%=*}" "${1#*=}" ;;
        *) passed+=("$1") ;;
        esac
        shift
    done
    [[ -z $own || -z $server ]] || fail_usage "--own and --server exclude each other"
    [[ -z $sync || -z $server ]] || fail_usage "--sync says how a cube of its own stores; a running one is as it is"
    [[ -z $replicas || -z $server ]] ||
        fail_usage "--replicas is for a cube that the benchmark starts itself; a running cube keeps its number"
    [[ -z $sync$replicas ]] || own=yes
    [[ -n $own ]] || server=${server:-${DHT_SERVER:-}}
    [[ -z $quick ]] || pass_quick_options
    if [[ -z $out ]]; then
        read_short_path "$project/bench-results/$(date -u +%Y-%m-%dT%H%M%SZ)-sweep"
        out=$path
    fi
}

set_option() {
    case $1 in
    -s | --server)
        [[ -n $2 ]] || fail_usage "$1 needs the address of a node"
        server=$2
        ;;
    --dimension)
        is_number "$2" 0 10 || fail_usage "--dimension $2" "a cube has 0 to 10 dimensions (1 to 1024 nodes)"
        dimension=$2
        ;;
    --out)
        [[ -n $2 ]] || fail_usage "--out needs a folder"
        out=$2
        ;;
    --sync)
        [[ $2 == always || $2 == memory || $2 == both || $2 == interval=?* ]] ||
            fail_usage "--sync $2" "it is always, interval=TIME (as in interval=100ms), memory or both"
        sync=$2
        ;;
    --replicas)
        [[ $2 == 1 || $2 == 3 ]] || fail_usage "--replicas $2" "one or three nodes keep each topic"
        replicas=$2
        ;;
    esac
}

# Applies the settings of --quick that the caller has not overridden.
pass_quick_options() {
    is_passed -k --topics || passed+=("--topics=1,250,500,750,1000")
    is_passed -d --duration || passed+=("--duration=700ms")
    is_passed -w --warmup || passed+=("--warmup=300ms")
    is_passed --runs --runs || passed+=("--runs=1")
}

# Succeeds if option $1, which is also called $2, is among the passed arguments: as -k5, -k 5, --topics=5 or --topics 5.
is_passed() {
    local word
    for word in ${passed[@]+"${passed[@]}"}; do
        case $word in "$1" | "$2" | "$2="*) return 0 ;; esac
        [[ $1 != -? || $word != "$1"* ]] || return 0
    done
    return 1
}

# --- the cube -----------------------------------------------------------------------------------------------------

# $server: the complete cube to measure. The script starts one of its own if none is named and none is running.
find_cube() {
    if [[ -n $own || (-z $server && $(answer_of "$server_default") == no) ]]; then
        read_count $((1 << dimension)) node
        echo "starting  a cube of $count of its own"
        start_cube
    fi
    server=${server:-$server_default}
    "$cli" -s "$server" cluster --wait 3s >"$folder/cluster" 2>&1 || {
        cat "$folder/cluster" >&2
        fail "the cube at $server is not up as a whole, and its figures would mislead" \
            "start what is missing: scripts/deploy.sh      or measure another one: scripts/benchmark.sh --own"
    }
    echo "measuring the cube at $server"
}

# Prints whether a cube, or a part of one, answers at $1.
answer_of() {
    local code=0
    "$cli" -s "$1" -t 2s cluster >/dev/null 2>&1 || code=$?
    case $code in 0 | 5) echo yes ;; *) echo no ;; esac
}

# --- measuring ----------------------------------------------------------------------------------------------------

# Runs the sweep; $code is its exit code. It has a process group of its own, so that a Ctrl-C, or a signal to this
# script alone, reaches it exactly once: the first one ends it early, with a report of the results so far.
measure() {
    local pid
    code=0
    set -m
    "$cli" -s "$server" bench sweep --out "$out" ${passed[@]+"${passed[@]}"} </dev/null &
    pid=$!
    set +m
    trap 'kill -INT "$pid" 2>/dev/null || true' INT TERM HUP
    while :; do
        code=0
        wait "$pid" || code=$?
        kill -0 "$pid" 2>/dev/null || break
    done
    trap 'exit 130' INT TERM HUP
}

# Stops the processes and removes the files that this script has created, except for the report.
clean_up() {
    local code=$?
    trap - EXIT
    trap '' INT TERM HUP
    end_cube || code=1
    rm -rf -- "$folder"
    exit "$code"
}

parse_arguments "$@"
folder=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT TERM HUP
build || fail "dht-cli could not be built" "what cargo says stands above"
cli=$bin/dht-cli
# A misspelt option is reported before anything is started; with --help nothing is started.
"$cli" bench sweep ${passed[@]+"${passed[@]}"} --help >/dev/null
reports=$out levels=("${sync:-always}")
[[ $sync != both ]] || levels=(always memory)
for sync in "${levels[@]}"; do
    ((${#levels[@]} == 1)) || out=$reports-$sync
    find_cube
    measure
    if [[ -n $(ls -A "$out" 2>/dev/null) ]]; then
        printf '\nreport    %s\n' "$out"
    fi
    ((code == 0)) || exit "$code"
    ((${#levels[@]} == 1)) || end_cube
    ((${#levels[@]} == 1)) || server=''
done
