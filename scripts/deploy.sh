#!/usr/bin/env bash
# Starts, monitors and stops a cube of dht-node processes on this machine.
#
# The data folder records which processes run: node-101.pid has a node's pid and the start time of its process. A
# process is signalled only if both still match, so that no unrelated process with a reused pid is stopped.
set -euo pipefail

program=deploy.sh
caller_folder=$PWD
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$scripts")
# shellcheck source=scripts/lib.sh
. "$scripts/lib.sh"

readonly dimension_default=3 base_port_default=5000
readonly listen_tries=200 # of 50 ms: a node that does not listen after 10 s never will
readonly stop_tries=120   # of 50 ms: a node needs up to 5 s to drain; after 6 s it is killed
readonly gateway_port_default=8080

usage() {
    cat <<'END'
Usage: scripts/deploy.sh [start|stop|status|restart|clean] [options]

  start     build what is needed and start the nodes that do not run yet (this is the default)
  stop      end the gateway and the nodes: each hands over what it has and exits; after 6 s it is killed
  status    a line per node, and one for the gateway; exit 0 when all are up, 1 when not
  restart   stop, then start
  clean     stop, then remove pid files, logs and the nodes' data

Options:
  --dimension D    2^D nodes, D from 0 to 10 [default: 3]
  --base-port P    node i listens on port P+i of 127.0.0.1 [default: 5000]
  --data DIR       where the nodes' data, pid files and logs are kept [default: run/ in the project]
  --sync WHEN      when records are fsynced: always, interval=100ms, or memory (never: nothing is kept)
                   [default: always]
  --replicas N     number of nodes that keep each topic, 1 or 3 [default: that of the data; without data, dht-node's]
  --gateway        start the REST gateway, too, on 127.0.0.1:8080; building it takes another minute or two
  --gateway-port P the same on another port
  -h, --help       this text

While nodes run, options not given are those they were started with. After a stop, the dimension is that of the data,
and the base port, --sync and --replicas are the last ones.

Environment:
  DHT_BIN_DIR      folder with dht-node and dht-cli to use instead of building them
  RUST_LOG         what the nodes log, e.g. RUST_LOG=debug

Exit codes: 0 done · 1 it did not work · 2 bad usage · 130 interrupted
END
}

# --- settings -------------------------------------------------------------------------------------------------

# $verb, $dimension, $base_port, $data from the command line; dimension and port stay empty if they are not given.
parse_arguments() {
    verb='' dimension='' base_port='' data='' sync='' replicas='' gateway_port=''
    while (($# > 0)); do
        case $1 in
        start | stop | status | restart | clean)
            [[ -z $verb ]] || fail_usage "two verbs: $verb and $1"
            verb=$1
            ;;
        --gateway) gateway_port=${gateway_port:-$gateway_port_default} ;;
        --dimension | --base-port | --data | --sync | --replicas | --gateway-port)
            (($# >= 2)) || fail_usage "$1 needs a value"
            set_option "$1" "$2"
            shift
            ;;
        --dimension=* | --base-port=* | --data=* | --sync=* | --replicas=* | --gateway-port=*)
            set_option "${1%%=*}" "${1#*=}"
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) fail_usage "unknown word: $1" ;;
        esac
        shift
    done
    verb=${verb:-start}
    read_short_path "$scripts/deploy.sh"
    self=$path # how messages name this script, so that their commands can be copied
    if [[ -z $data ]]; then
        data=$project/run
    else
        [[ $data == /* ]] || data=$caller_folder/${data#./}
        data=${data%/}
        read_short_path "$data"
        self+=" --data $path"
    fi
}

set_option() {
    case $1 in
    --dimension)
        is_number "$2" 0 10 || fail_usage "--dimension $2" "a cube has 0 to 10 dimensions (1 to 1024 nodes)"
        dimension=$2
        ;;
    --base-port)
        is_number "$2" 1 65535 || fail_usage "--base-port $2" "a port is a number from 1 to 65535"
        base_port=$2
        ;;
    --gateway-port)
        is_number "$2" 1 65535 || fail_usage "--gateway-port $2" "a port is a number from 1 to 65535"
        gateway_port=$2
        ;;
    --data)
        [[ -n $2 ]] || fail_usage "--data needs a folder"
        data=$2
        ;;
    --sync)
        [[ $2 == always || $2 == memory || $2 == interval=?* ]] ||
            fail_usage "--sync $2" "it is always, interval=TIME (as in interval=100ms) or memory"
        sync=$2
        ;;
    --replicas)
        [[ $2 == 1 || $2 == 3 ]] || fail_usage "--replicas $2" "one or three nodes keep each topic"
        replicas=$2
        ;;
    esac
}

# $last_dimension, $last_base_port, $last_sync, $last_replicas, $last_gateway_port: the options with which the nodes and
# the gateway of the data folder were started; after `stop` the dimension and the gateway's port are empty.
read_last_start() {
    local key value
    last_dimension='' last_base_port='' last_sync='' last_replicas='' last_gateway_port=''
    { read -r value <"$data/gateway.address"; } 2>/dev/null || value=
    ! is_number "${value##*:}" 1 65535 || last_gateway_port=${value##*:}
    [[ -r $data/cube ]] || return 0
    while IFS='=' read -r key value; do
        case $key in
        dimension) ! is_number "$value" 0 10 || last_dimension=$value ;;
        base_port) ! is_number "$value" 1 65535 || last_base_port=$value ;;
        sync) last_sync=$value ;;
        replicas) last_replicas=$value ;;
        esac
    done <"$data/cube"
}

# $kept: the nodes with data in the data folder. $kept_dimension: the dimension of their cube; empty if there are none,
# or if they are from several cubes.
read_kept() {
    local entry bits
    kept=() kept_dimension=
    for entry in "$data"/node-*; do
        [[ -d $entry && ${entry##*/} =~ ^node-([01]+)$ ]] || continue
        kept+=("${BASH_REMATCH[1]}")
        bits=${#BASH_REMATCH[1]}
        [[ ${kept_dimension:-$bits} == "$bits" ]] || bits=several
        kept_dimension=$bits
    done
    # A single node is called 0, and so is the first of two.
    [[ ${kept[*]-} != 0 ]] || kept_dimension=0
    [[ $kept_dimension != several ]] || kept_dimension=
}

# If this start would ignore existing data, it is reported and nothing is started: an empty cube beside it would look
# like a loss.
refuse_other_data() {
    local id
    read_kept
    ((${#kept[@]} > 0)) || return 0
    read_short_path "$data"
    local what="$path holds the data of ${#kept[@]} nodes, ${kept[0]} to ${kept[${#kept[@]} - 1]}"
    ((${#kept[@]} > 1)) || what="$path holds the data of node ${kept[0]}"
    local other=("to start another one beside it: --data DIR" "to remove what is there: $self clean")
    if [[ $sync == memory ]]; then
        fail "$what; with --sync memory none of it would be read" "to start that cube: $self" "${other[@]}"
    fi
    [[ $kept_dimension != "$dimension" ]] || return 0
    read_id 0 "$dimension"
    [[ -n $kept_dimension || " ${kept[*]} " != *" $id "* ]] || return 0
    fail "$what; a cube of dimension $dimension would begin without it" \
        "to start that cube: $self${kept_dimension:+ --dimension $kept_dimension}" "${other[@]}"
}

# Options that are not given are those of the last start, of the existing data, or the defaults.
settle_options() {
    read_last_start
    read_kept
    dimension=${dimension:-${last_dimension:-${kept_dimension:-$dimension_default}}}
    base_port=${base_port:-${last_base_port:-$base_port_default}}
    sync=${sync:-${last_sync:-always}}
    replicas=${replicas:-$last_replicas}
    gateway_port=${gateway_port:-$last_gateway_port}
    nodes=$((1 << dimension))
    ((base_port + nodes - 1 <= 65535)) ||
        fail_usage "$nodes nodes from port $base_port on" "the last one would need port $((base_port + nodes - 1))"
}

# --- the data folder --------------------------------------------------------------------------------------------

# Claims the data folder with a marker file, which states whether `clean` may remove the folder itself.
claim_folder() {
    [[ ! -e $data/.made-by-deploy ]] || return 0
    if mkdir -p "$(dirname "$data")" 2>/dev/null && mkdir "$data" 2>/dev/null; then
        echo "folder made" >"$data/.made-by-deploy"
        return 0
    fi
    [[ -d $data && -w $data ]] ||
        fail "cannot make the data folder $data" "give another one: --data DIR"
    local entry
    for entry in "$data"/* "$data"/.[!.]*; do
        case ${entry##*/} in
        '*' | '.[!.]*' | .lock*) ;;
        .made-by-deploy) return 0 ;; # by another call, just now
        *)
            fail "the folder $data holds other things, e.g. ${entry##*/}" \
                "this script only uses a folder that is its own or empty, because 'clean' empties it" \
                "give another one: --data DIR"
            ;;
        esac
    done
}

# Only one call at a time works on a folder. The lock is a file that names its owner, created by `ln`, which is atomic.
take_lock() {
    local ticket=$data/.lock.$$ start pid start_of_owner told='' tries=0
    claim_folder
    read_start_time $$
    start=$started
    until [[ -e $ticket ]] && ln "$ticket" "$data/.lock" 2>/dev/null; do
        check_interrupted
        if [[ ! -e $ticket ]]; then # the first time, or the folder went away under a `clean`
            claim_folder
            { echo "$$ $start" >"$ticket"; } 2>/dev/null || nap
            continue
        elif { read -r pid start_of_owner <"$data/.lock"; } 2>/dev/null; then
            if ! process_runs "$pid" "$start_of_owner"; then
                break_stale_lock
                continue
            elif [[ -z $told ]]; then
                note "another deploy.sh (pid $pid) works on $data; waiting for it to end"
                told=yes
            fi
        elif ((++tries > 100)); then # nobody has the lock, and yet it cannot be had
            fail "cannot lock the data folder $data" "its file system may know no links; give another one: --data DIR"
        fi
        nap
    done
    rm -f "$ticket"
    locked=yes
    [[ -e $data/.made-by-deploy ]] || echo "folder found" >"$data/.made-by-deploy"
}

# The owner died without releasing the lock. Of several callers that detect this, only the one that creates the folder
# may remove the lock, and it checks again first, because the lock may be a new one by now.
break_stale_lock() {
    local pid start
    if mkdir "$data/.lock.stale" 2>/dev/null; then
        if { read -r pid start <"$data/.lock"; } 2>/dev/null && ! process_runs "$pid" "$start"; then
            rm -f "$data/.lock"
        fi
        rmdir "$data/.lock.stale"
    else
        nap
    fi
}

release_lock() {
    [[ -z $locked ]] || rm -f "$data/.lock"
    rm -f "$data/.lock.$$"
    locked=
}

nap() {
    sleep 0.05 || true
}

# --- interruption -------------------------------------------------------------------------------------------------

# Ctrl-C only sets a flag, because starting a node and writing its pid file must not be interrupted.
check_interrupted() {
    [[ -n $interrupted ]] || return 0
    local up=0 file
    for file in "$data"/node-*.pid; do
        ! pid_file_runs "$file" || up=$((up + 1))
    done
    printf '\n' >&2
    ((up > 0)) || fail_code=130 fail "interrupted; no node runs"
    read_count "$up" node
    read_short_path "$data"
    fail_code=130 fail "interrupted; $count of $path running, and left so" \
        "to go on: $self start" "to end them: $self stop"
}

# --- nodes --------------------------------------------------------------------------------------------------------

# $pid: the process in pid file $1. Fails unless that very process is running.
pid_file_runs() {
    local start=
    pid=
    { read -r pid start <"$1"; } 2>/dev/null || true
    process_runs "${pid:-0}" "$start"
}

# $missing: the indices of the nodes that are not running.
read_missing() {
    local index
    missing=()
    for ((index = 0; index < nodes; index++)); do
        read_id "$index" "$dimension"
        pid_file_runs "$data/node-$id.pid" || missing+=("$index")
    done
}

# Nodes that were started with other options may be running from this folder.
refuse_other_cube() {
    local file
    read_last_start
    [[ ${last_dimension:-$dimension} != "$dimension" || ${last_base_port:-$base_port} != "$base_port" ]] || return 0
    for file in "$data"/node-*.pid; do
        if pid_file_runs "$file"; then
            read_short_path "$data"
            fail "another cube runs from $path: dimension $last_dimension, ports from $last_base_port on" \
                "end it first: $self stop" \
                "or give this one a folder of its own: --data DIR"
        fi
        rm -f "$file"
    done
}

# All ports are checked before anything is started, so that no partial cube is started.
refuse_taken_ports() {
    local index ports=() other=$((base_port + 1000))
    for index in "$@"; do
        ports+=("$((base_port + index))")
    done
    read_taken_ports "${ports[@]}"
    ((${#taken[@]} > 0)) || return 0
    ((other + nodes <= 65536)) || other=$base_port_default
    read_port_holder "${taken[0]}"
    fail "port ${taken[0]} is taken by $holder; nothing was started" \
        "ports needed and taken: ${taken[*]}" \
        "end that process, or use other ports: $self --base-port $other"
}

# Starts the node with index $1 in a process group of its own, so that Ctrl-C on this script does not reach it.
start_node() {
    local pid file log
    read_id "$1" "$dimension"
    file=$data/node-$id.pid log=$data/node-$id.log
    local storage=(--in-memory)
    [[ $sync == memory ]] || storage=(--data "$data/node-$id" --sync "$sync")
    [[ -z $replicas ]] || storage+=(--replicas "$replicas")
    [[ ! -e $log ]] || mv -f "$log" "$log.1" # why it ended is in there
    : >"$log" # it is read before the process has got that far
    set -m
    nohup "$bin/dht-node" --id "$id" --dimension "$dimension" --base-port "$base_port" \
        "${storage[@]}" </dev/null >"$log" 2>&1 &
    pid=$!
    set +m
    read_start_time "$pid" || true
    echo "$pid ${started:-gone}" >"$file.new"
    mv -f "$file.new" "$file"
    disown "$pid" 2>/dev/null || true
}

# Waits until the started nodes with indices $@ listen. If one ends, the others of this call are stopped. $found: the
# number of their topics; empty if they do not report it.
await_listening() {
    local index tries log last said
    found=
    for index in "$@"; do
        read_id "$index" "$dimension"
        log=$data/node-$id.log
        for ((tries = 0; ; tries++)); do
            said=$(<"$log")
            [[ $said != *" listens on "* ]] || break
            check_interrupted
            if ! pid_file_runs "$data/node-$id.pid" || ((tries >= listen_tries)); then
                last=$(tail -n 1 "$log" 2>/dev/null) || true
                local failed=$id
                end_nodes "$@"
                read_missing
                ((${#missing[@]} < nodes)) || rm -f "$data/cube" # nothing runs that it could speak of
                read_short_path "$log"
                fail "node $failed (port $((base_port + index))) did not start: ${last:-it said nothing}" \
                    "the nodes that this call started were ended again" "its log: $path"
            fi
            nap
        done
        [[ ! $said =~ "topics are kept in "[^$'\n']*": "([0-9]+)" found" ]] || found=$((${found:-0} + BASH_REMATCH[1]))
    done
}

# Stops the nodes with indices $@.
end_nodes() {
    local index files=()
    for index in "$@"; do
        read_id "$index" "$dimension"
        files+=("$data/node-$id.pid")
    done
    end_pid_files "${files[@]}"
}

# Sends TERM to the processes of all pid files $@, waits up to 6 s for all of them to drain, then sends KILL. $ended:
# their number.
end_pid_files() {
    local file tries=0 left=()
    ended=0
    for file in "$@"; do
        if pid_file_runs "$file"; then
            kill -TERM "$pid" 2>/dev/null || true
            left+=("$file")
            ended=$((ended + 1))
        elif is_number "$pid" 1 999999999 && read_start_time "$pid"; then
            note "${file##*/} is stale: pid $pid belongs to another process now, which is left alone"
        fi
    done
    while ((${#left[@]} > 0 && tries < stop_tries)); do
        nap
        read_running "${left[@]}"
        left=(${running[@]+"${running[@]}"})
        tries=$((tries + 1))
    done
    for file in ${left[@]+"${left[@]}"}; do
        if pid_file_runs "$file"; then
            note "${file##*/}: process $pid did not end within 6 s and is killed"
            kill -KILL "$pid" 2>/dev/null || true
        fi
    done
    rm -f "$@"
}

# $running: those of the pid files $@ whose process is running.
read_running() {
    local file
    running=()
    for file in "$@"; do
        ! pid_file_runs "$file" || running+=("$file")
    done
}

# --- verbs --------------------------------------------------------------------------------------------------------

start() {
    settle_options
    build_programs
    take_lock
    start_missing
}

build_programs() {
    build ${gateway_port:+dht-gateway} || {
        check_interrupted
        fail "dht-node could not be built; nothing was started" "what cargo says stands above"
    }
    check_interrupted
}

start_missing() {
    refuse_other_cube
    refuse_other_data
    read_missing
    if ((${#missing[@]} > 0)); then
        refuse_taken_ports "${missing[@]}"
        printf '%s\n' "dimension=$dimension" "base_port=$base_port" "sync=$sync" \
            ${replicas:+"replicas=$replicas"} >"$data/cube"
        read_count "$nodes" node
        echo "starting  ${#missing[@]} of $count, ports $base_port to $((base_port + nodes - 1))"
        local index
        for index in "${missing[@]}"; do
            start_node "$index"
            check_interrupted
        done
        await_listening "${missing[@]}"
        if [[ -n $found ]]; then # RUST_LOG may silence it
            read_count "$found" topic
            echo "data      $data: $count found"
        fi
    else
        echo "running   every node was up already, ports $base_port to $((base_port + nodes - 1))"
        note_old_build
    fi
    show_cube
    [[ -z $gateway_port ]] || start_gateway
    echo "To end it: $self stop"
}

# Starts the gateway of the cube, unless it is running.
start_gateway() {
    local file=$data/gateway.pid log=$data/gateway.log index servers=127.0.0.1:$base_port tries started pid
    if pid_file_runs "$file"; then
        echo "gateway   is up already at $(<"$data/gateway.address")"
        return 0
    fi
    read_taken_ports "$gateway_port"
    if ((${#taken[@]} > 0)); then
        read_port_holder "$gateway_port"
        fail "port $gateway_port of the gateway is taken by $holder; the nodes run" \
            "use another one: $self --gateway-port $((gateway_port % 65535 + 1))"
    fi
    for ((index = 1; index < nodes && index < 8; index++)); do
        servers+=,127.0.0.1:$((base_port + index))
    done
    [[ ! -e $log ]] || mv -f "$log" "$log.1"
    : >"$log"
    set -m
    nohup "$bin/dht-gateway" -s "$servers" --listen "127.0.0.1:$gateway_port" </dev/null >"$log" 2>&1 &
    pid=$!
    set +m
    read_start_time "$pid" || true
    echo "$pid ${started:-gone}" >"$file"
    echo "http://127.0.0.1:$gateway_port" >"$data/gateway.address"
    disown "$pid" 2>/dev/null || true
    for ((tries = 0; ; tries++)); do
        [[ $(<"$log") != *" listens on "* ]] || break
        check_interrupted
        if ! pid_file_runs "$file" || ((tries >= listen_tries)); then
            rm -f "$file"
            read_short_path "$log"
            fail "the gateway did not start: $(tail -n 1 "$log"); the nodes run" "its log: $path"
        fi
        nap
    done
    cat <<END

The gateway is up. To try:
  curl -X PUT http://127.0.0.1:$gateway_port/v1/topics/weather
  curl -d "sunny, 21 degrees" http://127.0.0.1:$gateway_port/v1/topics/weather/records
  curl -N "http://127.0.0.1:$gateway_port/v1/topics/weather/stream?from=earliest"
All of it is described, with a page to try it, at http://127.0.0.1:$gateway_port/
END
}

# A node keeps the program that it was started with; cargo replaces the file.
note_old_build() {
    local exe
    read_id 0 "$dimension"
    pid_file_runs "$data/node-$id.pid" || return 0
    exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 0
    [[ $exe != *" (deleted)" ]] || note "the nodes run an older build; to use the new one: $self restart"
}

# Waits for all links, and prints the cube and three commands to try.
show_cube() {
    local links=$((dimension * nodes / 2)) patience=$((15 + nodes / 16)) index servers=127.0.0.1:$base_port code=0
    for ((index = 1; index < nodes && index < 8; index++)); do
        servers+=,127.0.0.1:$((base_port + index))
    done
    echo "waiting   until the $links links are up"
    "$bin/dht-cli" -s "$servers" cluster --wait "${patience}s" || code=$?
    check_interrupted
    read_short_path "$data"
    ((code == 0)) || fail "after $patience s, nodes or links are down, or some topics have no leader" \
        "the nodes that run stay; what they say is in $path/node-*.log" \
        "to start those that ended: $self" "to end all: $self stop"
    local logs=$path
    read_short_path "$bin/dht-cli"
    local at="$path -s 127.0.0.1"
    cat <<END

Every node and link is up; the logs are in $logs. To try:
  $at:$base_port create weather
  $at:$((base_port + 3 % nodes)) publish weather "sunny, 21 degrees"
  $at:$((base_port + 6 % nodes)) fetch weather --from earliest
END
}

stop() {
    [[ -d $data && -e $data/.made-by-deploy ]] || {
        read_short_path "$data"
        echo "stopped   nothing ran from $path"
        return 0
    }
    take_lock
    read_last_start
    stop_all
    # Clients know the ports, and rely on the durability, so the next start uses both again.
    [[ -z $last_base_port ]] ||
        printf '%s\n' "base_port=$last_base_port" ${last_sync:+"sync=$last_sync"} \
            ${last_replicas:+"replicas=$last_replicas"} >"$data/cube"
}

stop_all() {
    local what=()
    # The gateway first, so that its clients get the answers that the nodes still have for them.
    end_pid_files "$data/gateway.pid"
    ((ended == 0)) || what+=("the gateway")
    rm -f "$data/gateway.address"
    end_pid_files "$data"/node-*.pid
    rm -f "$data/cube"
    read_count "$ended" node
    ((ended == 0)) || what+=("$count")
    if ((${#what[@]} == 2)); then
        echo "stopped   ${what[0]} and ${what[1]}"
    else
        echo "stopped   ${what[0]-nothing ran}"
    fi
}

status() {
    settle_options
    local index ports=() up=0
    for ((index = 0; index < nodes; index++)); do
        ports+=("$((base_port + index))")
    done
    read_taken_ports "${ports[@]}" ${gateway_port:+"$gateway_port"}
    printf '%-10s  %5s  %8s  %s\n' node port pid state
    for ((index = 0; index < nodes; index++)); do
        read_id "$index" "$dimension"
        read_state "$data/node-$id.pid" "${ports[index]}"
        [[ $state != up ]] || up=$((up + 1))
        printf '%-10s  %5d  %8s  %s\n' "$id" "${ports[index]}" "$pid" "$state"
    done
    read_count "$nodes" node
    state=up
    if [[ -n $gateway_port ]]; then
        read_state "$data/gateway.pid" "$gateway_port"
        printf '%-10s  %5d  %8s  %s\n' gateway "$gateway_port" "$pid" "$state: http://127.0.0.1:$gateway_port"
    fi
    echo "$up of $count up"
    [[ $state == up ]] && ((up == nodes))
}

# $state, $pid: those of the process in pid file $1, which should listen on port $2. $taken: the ports that are taken.
read_state() {
    if ! pid_file_runs "$1"; then
        state=down pid=-
    elif [[ " ${taken[*]-} " == *" $2 "* ]]; then
        state=up
    else
        state="runs, but does not listen"
    fi
}

restart() {
    settle_options # before stop forgets them
    refuse_other_data
    build_programs
    take_lock
    stop_all
    check_interrupted
    start_missing
}

clean() {
    read_short_path "$data"
    [[ -d $data && -e $data/.made-by-deploy ]] || {
        echo "cleaned   there was nothing in $path"
        return 0
    }
    take_lock
    stop_all
    local made entry
    made=$(<"$data/.made-by-deploy")
    rm -f "$data"/gateway.log "$data"/gateway.log.1
    for entry in "$data"/node-*; do
        # Only names that this script and its nodes make: node-101.pid, .log, .log.1 and the data folder node-101.
        [[ ${entry##*/} =~ ^node-[01]+(\.pid|\.pid\.new|\.log|\.log\.1)?$ ]] || continue
        rm -rf -- "$entry"
    done
    for entry in "$data"/.lock.*; do
        [[ ! -e $entry ]] || made="folder in use" # by a call that waits for its turn
    done
    [[ $made == "folder in use" ]] || rm -f "$data/.made-by-deploy"
    release_lock
    [[ $made != "folder made" ]] || rmdir "$data" 2>/dev/null || note "$path stays: something else is in it"
    echo "cleaned   $path"
}

interrupted='' locked=''
trap 'interrupted=yes' INT TERM
trap release_lock EXIT
parse_arguments "$@"
cd "$project" # the nodes keep the folder they start in
"$verb"
