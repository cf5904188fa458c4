#!/usr/bin/env bash
# Runs a cube of eight nodes on eight virtual hosts, and breaks one host at a time while clients publish and subscribe.
#   scripts/netns_test.sh            30 faults: a few minutes
#   scripts/netns_test.sh 300        300 faults
# Each host is a network namespace with its own address. A bridge in another namespace joins them, so this machine's
# network is not changed. Faults: the process is killed, ended by SIGTERM or stopped for 5 s, the cable is pulled,
# packets to one neighbour are dropped, the disk is replaced by an empty one. No client may get an error, and in the end
# every published record must be read through each node, once and in order. NETNS_SEED=N selects the faults. It needs
# root and ip (Debian's iproute2); without them it prints a note and ends with code 0.
set -euo pipefail

program=netns_test.sh
caller_folder=$PWD
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"

readonly dimension=3 nodes=8 port=5000 topics=8
readonly kinds=(kill term stop cable oneway wipe)
readonly pace=0.02 # seconds between two records of a topic

# Runs a command on host $1: a node's id, or "clients".
on() {
    ip netns exec "$prefix-$1" "${@:2}"
}

clean_up() {
    local code=$? host
    trap - EXIT INT TERM
    rm -f -- "$folder/publishing"
    ((code == 0)) || note "the nodes' logs and data are in $folder"
    exec 2>/dev/null # otherwise bash reports each background process that is killed here
    for host in "${hosts[@]}" hub; do
        ip netns pids "$prefix-$host" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
        ip netns delete "$prefix-$host" 2>/dev/null || true
    done
    wait
    ((code > 0)) || rm -rf -- "$folder"
    exit "$code"
}

# Makes the hosts ${hosts[@]} and the bridge between them. The n-th host, counted from 1, has the address 10.77.0.n.
make_network() {
    local number=1 host
    ip netns add "$prefix-hub"
    ip -n "$prefix-hub" link add bridge type bridge
    ip -n "$prefix-hub" link set bridge up
    for host in "${hosts[@]}"; do
        ip netns add "$prefix-$host"
        ip -n "$prefix-hub" link add "to-$host" type veth peer name eth0 netns "$prefix-$host"
        ip -n "$prefix-hub" link set "to-$host" master bridge up
        ip -n "$prefix-$host" address add "10.77.0.$number/24" dev eth0
        ip -n "$prefix-$host" link set eth0 up
        ip -n "$prefix-$host" link set lo up
        number=$((number + 1))
    done
}

# Starts node number $1.
start() {
    local host=${hosts[$1]}
    # Not through "on": $! would be the subshell that runs the function, and signals would not reach the node.
    ip netns exec "$prefix-$host" "$bin/dht-node" --id "$host" --peers "$folder/peers" --data "$folder/$host" \
        --replicas 3 --disk 2GiB --insecure-network >>"$folder/$host.log" 2>&1 &
    pid[$1]=$!
}

cli() {
    on clients "$bin/dht-cli" -s "$servers" "$@"
}

# Waits until all links are up, each probe topic takes a record, and no copy is behind. Then another disk may be lost.
wait_whole() {
    local topic answer tries
    cli cluster --wait 60s >/dev/null || fail "the cube is not whole again a minute after: $fault"
    for ((topic = 0; topic < topics; topic++)); do
        cli publish "probe-$topic" "$fault" >/dev/null || fail "topic probe-$topic takes no record after: $fault"
        for ((tries = 0; tries < 300; tries++)); do
            answer=$(cli info "probe-$topic") || fail "topic probe-$topic cannot be read after: $fault"
            [[ $answer == *behind\)* || $answer == *"not answer"* ]] || continue 2
            sleep 0.2
        done
        fail "a copy is still behind a minute after: $fault" "$answer"
    done
}

# Publishes the numbers from 0 on to topic $1, one record each, while the file "publishing" exists.
publish() {
    local number=0
    while [[ -e $folder/publishing ]]; do
        echo "$number"
        number=$((number + 1))
        read -rt "$pace" <&"$never" || true
    done | cli publish -l "netns-$1" >"$folder/publish-$1.out" 2>&1 || echo "$?" >"$folder/publish-$1.failed"
}

# Breaks the host of node number $1 with a fault of the kind $2, and repairs it.
break_host() {
    local node=$1 host=${hosts[$1]} other=$((($1 ^ 1) + 1))
    case $2 in
    kill | wipe)
        kill -9 "${pid[node]}"
        wait "${pid[node]}" 2>/dev/null || true
        [[ $2 == kill ]] || rm -rf -- "${folder:?}/$host"
        sleep 2
        start "$node"
        ;;
    term)
        kill "${pid[node]}"
        wait "${pid[node]}" || fail "node $host ended with $? on SIGTERM"
        start "$node"
        ;;
    stop) kill -STOP "${pid[node]}" && sleep 5 && kill -CONT "${pid[node]}" ;;
    cable)
        ip -n "$prefix-hub" link set "to-$host" down
        sleep 3
        ip -n "$prefix-hub" link set "to-$host" up
        ;;
    oneway)
        ip -n "$prefix-$host" route add blackhole "10.77.0.$other/32"
        sleep 3
        ip -n "$prefix-$host" route delete blackhole "10.77.0.$other/32"
        ;;
    esac
}

# Fails unless the lines of file $2 are what was published to topic $1: the numbers from 0 to ${counts[$1]} - 1. $3 says
# for the message how the file was read.
check_lines() {
    seq 0 "$((counts[$1] - 1))" | cmp -s - "$2" ||
        fail "topic netns-$1 $3 is not what was published" "$(seq 0 "$((counts[$1] - 1))" | diff - "$2" | head -n 5)"
}

check_everything() {
    local topic node lines tries
    for ((topic = 0; topic < topics; topic++)); do
        [[ ! -e $folder/publish-$topic.failed ]] || fail "publishing failed" "$(tail -n 3 "$folder/publish-$topic.out")"
        counts[topic]=$(cli fetch "netns-$topic" --last 1 -F '%i\n')
        counts[topic]=$((counts[topic] + 1))
        for ((node = 0; node < nodes; node++)); do
            on clients "$bin/dht-cli" -s "10.77.0.$((node + 1)):$((port + node))" fetch "netns-$topic" >"$folder/read"
            check_lines "$topic" "$folder/read" "through node ${hosts[node]}"
        done
        for ((tries = 0; tries < 100; tries++)); do
            lines=$(wc -l <"$folder/subscribe-$topic.out")
            ((lines < counts[topic])) || break
            sleep 0.1
        done
        check_lines "$topic" "$folder/subscribe-$topic.out" "as its subscriber got it"
        total=$((total + counts[topic]))
    done
}

case ${1:-} in
-h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
rounds=${1:-30}
is_number "$rounds" 1 999999999 || fail_usage "'$rounds' is not a number of faults" "such as 300"
if ((EUID != 0)) || ! command -v ip >/dev/null; then
    note "skipped: network namespaces need root and ip (Debian's iproute2)"
    exit 0
fi
RANDOM=${NETNS_SEED:-$((RANDOM % 30000))} && seed=${NETNS_SEED:-$RANDOM} && RANDOM=$seed
note "to repeat: NETNS_SEED=$seed scripts/netns_test.sh $rounds"
folder=$(mktemp -d "${TMPDIR:-/tmp}/netns.XXXXXX")
prefix=dht$$ hosts=() pid=() counts=() total=0 fault="the start" servers=
for ((node = 0; node < nodes; node++)); do
    read_id "$node" "$dimension"
    hosts+=("$id")
    echo "$id 10.77.0.$((node + 1)):$((port + node))" >>"$folder/peers"
    servers+=${servers:+,}10.77.0.$((node + 1)):$((port + node))
done
hosts+=(clients)
trap clean_up EXIT INT TERM
build
make_network
# Nothing is ever written to this FIFO, so that reading from it with a time limit is a pause that starts no process.
mkfifo "$folder/never" && exec {never}<>"$folder/never"
for ((node = 0; node < nodes; node++)); do start "$node"; done
cli cluster --wait 60s >/dev/null || fail "the cube does not start" "$(tail -n 3 "$folder/000.log")"
touch "$folder/publishing"
publishers=()
for ((topic = 0; topic < topics; topic++)); do
    cli create "probe-$topic" >/dev/null && cli create "netns-$topic" >/dev/null
    cli subscribe "netns-$topic" --from earliest >"$folder/subscribe-$topic.out" 2>"$folder/subscribe-$topic.err" &
    publish "$topic" &
    publishers+=("$!")
done
for ((round = 1; round <= rounds; round++)); do
    node=$((RANDOM % nodes)) kind=${kinds[RANDOM % ${#kinds[@]}]}
    fault="$kind of ${hosts[node]} (fault $round)"
    break_host "$node" "$kind"
    wait_whole
done
rm -f -- "$folder/publishing"
wait "${publishers[@]}"
check_everything
note "$rounds faults in $SECONDS s; $total records, each read through eight nodes and by a subscriber, once and in order"
