#!/usr/bin/env bash
# Creates, publishes and reads between peers through the real command line: every node as the entry, every node as
# the home, eight times eight cases in a cube of eight.
#
# A case has a topic of its own, whose home this script computes itself (CRC-32 of the name, low bits) and compares with
# the cube's answer. One node creates it, the entry node publishes to it, and a third one reads it.
#
# Then a subscriber at every node follows one topic of every home while every node publishes one message to each of
# them. Publisher, home and subscriber take all combinations of nodes, and every subscriber must get every message once,
# in the order of its topic.
set -euo pipefail

program=peer_test.sh
caller_folder=$PWD
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"

readonly dimension_max=5 # 1024 cases

usage() {
    cat <<'END'
Usage: scripts/peer_test.sh [-s HOST:PORT | --base-port P] [--dimension D]

Publishes and reads through every pair of entry node and home, then subscribes at every node to a topic of every home
while every node publishes to it, and prints a table of each.

  -s, --server HOST:PORT[,…]   test the running cube of that node [env: DHT_SERVER]
  --base-port P                test the running cube whose first node is 127.0.0.1:P
  --dimension D                without a running cube: the size of the one to start, 0 to 5 [default: 3]
  -h, --help                   this text

With neither -s, DHT_SERVER nor --base-port it starts a cube of its own on free ports and removes it afterwards.

Environment:
  DHT_BIN_DIR                  folder with dht-node and dht-cli to use instead of building them

Exit codes: 0 all cases passed · 1 a case failed, or there was no cube to test · 2 bad usage
END
}

parse_arguments() {
    server=${DHT_SERVER:-} dimension=3
    while (($# > 0)); do
        case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        -s | --server | --base-port | --dimension)
            (($# >= 2)) || fail_usage "$1 needs a value"
            set_option "$1" "$2"
            shift
            ;;
        --server=* | --base-port=* | --dimension=*) set_option "${1%%=*}" "${1#*=}" ;;
        *) fail_usage "unknown word: $1" ;;
        esac
        shift
    done
}

set_option() {
    case $1 in
    -s | --server) server=$2 ;;
    --base-port)
        is_number "$2" 1 65535 || fail_usage "--base-port $2" "a port is a number from 1 to 65535"
        server=127.0.0.1:$2
        ;;
    --dimension)
        is_number "$2" 0 $dimension_max || fail_usage "--dimension $2" "this test takes cubes of 0 to $dimension_max"
        dimension=$2
        ;;
    esac
}

# --- the cube -----------------------------------------------------------------------------------------------------

# Stops the processes and removes the files that this script has created.
clean_up() {
    local code=$? pid
    trap - EXIT INT TERM
    for pid in ${subscribers[@]+"${subscribers[@]}"}; do
        kill "$pid" 2>/dev/null || true
    done
    end_cube || code=1
    rm -rf -- "$folder"
    exit "$code"
}

# ${address[i]}, $dimension: the addresses of the nodes, from the JSON of `dht-cli cluster`. All must be up.
read_cube() {
    local answer node found=0
    answer=$("$cli" -s "$server" cluster --wait 10s --json) ||
        fail "the cube at $server is not up as a whole" "look at it: dht-cli -s $server cluster" \
            "start one: scripts/deploy.sh"
    read_json dimension "$answer" || fail "'cluster --json' names no dimension: $answer"
    dimension=$value
    is_number "$dimension" 0 $dimension_max ||
        fail "the cube at $server has $dimension dimensions" "this test takes cubes of 0 to $dimension_max"
    nodes=$((1 << dimension))
    address=()
    while IFS= read -r node; do
        if read_json id "$node" && [[ $value =~ ^[01]+$ ]]; then
            local index=$((2#$value))
            read_json address "$node" || fail "'cluster --json' names no address of node $value"
            address[index]=$value
            found=$((found + 1))
        fi
    done <<<"${answer//\{/$'\n'}"
    ((found == nodes)) || fail "'cluster --json' names $found nodes instead of $nodes: $answer"
}

# --- the cases ----------------------------------------------------------------------------------------------------

# $crc: CRC-32/ISO-HDLC of the ASCII text $1, the hash that homes are computed from.
read_crc32() {
    local at bit byte
    crc=$((0xFFFFFFFF))
    for ((at = 0; at < ${#1}; at++)); do
        printf -v byte '%d' "'${1:at:1}"
        crc=$((crc ^ byte))
        for ((bit = 0; bit < 8; bit++)); do
            crc=$(((crc >> 1) ^ (crc & 1 ? 0xEDB88320 : 0)))
        done
    done
    crc=$((crc ^ 0xFFFFFFFF))
}

# $topic: a name whose home is node $1; a new one for each call.
read_topic_at() {
    while :; do
        next_name=$((next_name + 1))
        topic=peer-test-$run-$next_name
        read_crc32 "$topic"
        (((crc & (nodes - 1)) != $1)) || return 0
    done
}

# ask NODE ARGUMENTS…: runs dht-cli through node NODE and sets $answer. On failure $reason has the request and its
# result.
ask() {
    local node=$1
    shift
    if ! answer=$("$cli" -s "${address[node]}" "$@" --json 2>&1 </dev/null); then
        read_id "$node" "$dimension"
        reason="'dht-cli $*' through $id: ${answer//$'\n'/ }"
        return 1
    fi
}

# expect KEY VALUE: checks the last answer.
expect() {
    read_json "$1" "$answer" && [[ $value == "$2" ]] && return 0
    reason="$1 should be \"$2\" in: ${answer//$'\n'/ }"
    return 1
}

# Runs one case with entry node $1 and home $2. The creator and the reader are other nodes if the cube has others.
run_case() {
    local entry=$1 home=$2 creator=$((($1 + 1) % nodes)) reader=$((($1 + nodes / 2 + 1) % nodes)) payload home_id
    read_topic_at "$home"
    read_id "$home" "$dimension"
    home_id=$id
    read_id "$entry" "$dimension"
    payload="through $id to $home_id, case $next_name"
    ask "$creator" create "$topic" || return 1
    topics+=("$topic")
    expect topic "$topic" && expect home "$home_id" || return 1
    ask "$entry" publish "$topic" "$payload" || return 1
    expect topic "$topic" && expect offset 0 && expect count 1 || return 1
    ask "$reader" fetch "$topic" --from earliest -n 1 || return 1
    expect topic "$topic" && expect offset 0 && expect payload "$payload" || return 1
    ask "$entry" query "$topic" || return 1
    expect home "$home_id" && expect next_offset 1
}

# Starts a table: $1 names the rows.
print_heading() {
    local home
    width=$((dimension > 4 ? dimension : 4))
    printf '%17s' "$1 \\ home"
    for ((home = 0; home < nodes; home++)); do
        read_id "$home" "$dimension"
        printf '  %*s' "$width" "$id"
    done
    printf '\n'
}

# Prints a cell of the table: $1 is empty on success, else the reason for the failure.
print_cell() {
    local cell=ok
    if [[ -n $1 ]]; then
        cell=FAIL
        failed=$((failed + 1))
        reasons+=("$1")
    fi
    printf '  %*s' "$width" "$cell"
}

# Prints the table row by row while the cases run; $failed is the number of failures, $reasons explains them.
run_all() {
    local entry home
    print_heading entry
    for ((entry = 0; entry < nodes; entry++)); do
        read_id "$entry" "$dimension"
        printf '%17s' "$id"
        for ((home = 0; home < nodes; home++)); do
            if run_case "$entry" "$home"; then print_cell ''; else print_cell "$topic: $reason"; fi
        done
        printf '\n'
    done
}

# --- subscriptions ------------------------------------------------------------------------------------------------

# ${followed[home]}: a new topic at every home. Every subscriber follows all of them.
create_followed() {
    local home
    followed=()
    for ((home = 0; home < nodes; home++)); do
        read_topic_at "$home"
        followed[home]=$topic
        ask "$home" create "$topic" || fail "no topic to subscribe to" "$reason"
        topics+=("$topic")
    done
}

# Starts a subscriber at every node. Each ends with the last record that it must get, or after a timeout.
start_subscribers() {
    local node
    for ((node = 0; node < nodes; node++)); do
        "$cli" -v -s "${address[node]}" subscribe "${followed[@]}" -n $((nodes * nodes)) -w 10s -F '%t %i %p\n' \
            >"$folder/$node.out" 2>"$folder/$node.err" </dev/null &
        subscribers[node]=$!
    done
    for ((node = 0; node < nodes; node++)); do
        wait_for_subscriber "$node"
    done
}

# Waits until the subscriber at node $1 has reported that it follows every topic.
wait_for_subscriber() {
    local try said
    for ((try = 0; try < 200; try++)); do
        said=$(grep -c '^subscribed to ' "$folder/$1.err") || true
        ((said < nodes)) || return 0
        kill -0 "${subscribers[$1]}" 2>/dev/null || break
        sleep 0.05
    done
    fail "the subscriber at node $1 follows $said of $nodes topics" "$(tail -n 3 "$folder/$1.err")"
}

# Publishes one message from every node to every topic; the order within a topic is that of the nodes.
publish_to_followed() {
    local entry home text
    for ((entry = 0; entry < nodes; entry++)); do
        for ((home = 0; home < nodes; home++)); do
            read_id "$entry" "$dimension"
            text="through $id"
            read_id "$home" "$dimension"
            if ! ask "$entry" publish "${followed[home]}" "$text to $id" || ! expect offset "$entry"; then
                reasons+=("${followed[home]}: $reason")
            fi
        done
    done
}

# ${seen[home]}: what the subscriber at node $1 printed for that home's topic, as "offset:publisher" in order of
# arrival.
read_seen() {
    local name offset text home
    seen=()
    for ((home = 0; home < nodes; home++)); do
        seen[home]=
    done
    while read -r name offset text; do
        home=${text##* }
        if [[ $text =~ ^through\ [01]+\ to\ [01]+$ && ${followed[2#$home]-} == "$name" ]]; then
            text=${text#through }
            seen[2#$home]+=" $offset:${text%% *}"
        else
            reasons+=("the subscriber at node $1 printed: $name $offset $text")
        fi
    done <"$folder/$1.out"
}

# Prints the table of what every subscriber got.
run_subscriptions() {
    local node home publisher expected=
    create_followed
    start_subscribers
    publish_to_followed
    for ((publisher = 0; publisher < nodes; publisher++)); do
        read_id "$publisher" "$dimension"
        expected+=" $publisher:$id"
    done
    print_heading subscriber
    for ((node = 0; node < nodes; node++)); do
        wait "${subscribers[node]}" || reasons+=("the subscriber at node $node: $(tail -n 3 "$folder/$node.err")")
        unset "subscribers[node]"
        read_seen "$node"
        read_id "$node" "$dimension"
        printf '%17s' "$id"
        for ((home = 0; home < nodes; home++)); do
            if [[ ${seen[home]} == "$expected" ]]; then
                print_cell ''
            else
                print_cell "${followed[home]} at node $id: came${seen[home]:- nothing}; should have come$expected"
            fi
        done
        printf '\n'
    done
}

delete_topics() {
    local name
    for name in ${topics[@]+"${topics[@]}"}; do
        ask 0 delete -y "$name" || reasons+=("$name stays: $reason")
    done
}

parse_arguments "$@"
run=$$ next_name=0 failed=0 width=4 topics=() reasons=() subscribers=()
folder=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT TERM
build || fail "dht-cli could not be built" "what cargo says stands above"
cli=$bin/dht-cli
[[ -n $server ]] || start_cube
read_cube
run_all
printf '\n'
run_subscriptions
delete_topics
for line in ${reasons[@]+"${reasons[@]}"}; do
    printf 'FAIL  %s\n' "$line"
done
cases=$((nodes * nodes))
if ((${#reasons[@]} > 0)); then
    echo "FAILED: $failed of $((2 * cases)) cases; the reasons stand above"
    exit 1
fi
echo "ok: $cases of $cases cases, created, published and read through different nodes"
echo "ok: $((cases * nodes)) of $((cases * nodes)) messages came to subscribers, in order and once"
