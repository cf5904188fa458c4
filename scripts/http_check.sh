#!/usr/bin/env bash
# Sends the gateway what its OpenAPI document allows and what it forbids, and checks that every answer is one that the
# document has, and that none of them is a fault of the server.
#   scripts/http_check.sh         up to 100 requests of each kind: a quarter of a minute
#   scripts/http_check.sh 2000    up to that many
# It starts nodes and a gateway on free ports and ends them. The requests are made by schemathesis, which pip installs into
# target/schemathesis the first time. Where that is impossible, as without a network, it says so and succeeds. The exit
# code is 1 when an answer was wrong; schemathesis then prints the request.
set -euo pipefail

program=http_check.sh
caller_folder=$PWD
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"

version=4.32.5
tools=${CARGO_TARGET_DIR:-$project/target}/schemathesis
readonly listen_tries=200 # of 50 ms

read_arguments() {
    case ${1:-} in
    -h | --help)
        sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    esac
    requests=${1:-100}
    is_number "$requests" 1 999999999 || fail_usage "'$requests' is not a number of requests" "such as 2000"
}

# Installs schemathesis, unless it is there.
install_tool() {
    [[ ! -x $tools/bin/schemathesis || ! -e $tools/$version ]] || return 0
    rm -rf -- "$tools"
    python3 -m venv "$tools" >/dev/null 2>&1 &&
        "$tools/bin/pip" install --quiet --disable-pip-version-check --timeout 10 --retries 1 \
            "schemathesis==$version" >/dev/null 2>&1 &&
        : >"$tools/$version"
}

# $address: where the gateway listens, which it prints.
start_gateway() {
    local log=$folder/gateway.log tries
    "$bin/dht-gateway" -s "$server" --listen 127.0.0.1:0 >"$log" 2>&1 &
    gateway=$!
    for ((tries = 0; ; tries++)); do
        address=$(sed -n 's/^.* listens on //p' "$log")
        [[ -z $address ]] || return 0
        if ((tries >= listen_tries)) || ! kill -0 "$gateway" 2>/dev/null; then
            fail "the gateway did not start" "$(tail -n 1 "$log")"
        fi
        sleep 0.05
    done
}

# Stops the processes and removes the files that this script has created.
clean_up() {
    local code=$?
    trap - EXIT INT TERM
    [[ -z $gateway ]] || kill "$gateway" 2>/dev/null || true
    end_cube || code=1
    rm -rf -- "$folder"
    exit "$code"
}

read_arguments "$@"
if ! install_tool; then
    echo "$program: skipped, because schemathesis $version cannot be installed with python3 and pip"
    exit 0
fi
dimension=1 sync=memory gateway=
folder=$(mktemp -d "${TMPDIR:-/tmp}/http_check.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT TERM
build dht-gateway
start_cube
start_gateway
# A stream does not end. The two checks that are left out expect that a schema says everything: that an offset is within
# the topic, and that a change changes something.
cd "$folder" # where schemathesis keeps its files
"$tools/bin/schemathesis" run "$address/v1/openapi.json" --exclude-path '/v1/topics/{topic}/stream' \
    --checks all --exclude-checks positive_data_acceptance,negative_data_rejection \
    --max-examples "$requests" --seed 1 --warnings off --no-color
