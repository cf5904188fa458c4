# shellcheck shell=bash disable=SC2034,SC2154 # its scripts read and set variables that this file does not
# Functions shared by the scripts in this folder: messages, building, a cube of one's own, processes, ports, ids, JSON.
# This file is sourced, never run.
#
# Plain bash, coreutils and grep; it also works in bash 3.2 and without /proc. Functions return values in the variable
# that their comment names, so that a loop over a thousand nodes starts no subshells.

# fail WHAT [WHY] [WHAT TO DO]: prints a line for each to stderr, then exits with $fail_code (1 unless set).
fail() {
    printf '%s: %s\n' "$program" "$1" >&2
    shift
    local line
    for line in "$@"; do
        [[ -z $line ]] || printf '  %s\n' "$line" >&2
    done
    exit "${fail_code:-1}"
}

# Reports an error of the caller: exit code 2.
fail_usage() {
    fail_code=2 fail "$1" "${2:-}" "see: scripts/$program --help"
}

note() {
    printf '%s: %s\n' "$program" "$*" >&2
}

# Succeeds if $1 is an integer between $2 and $3. It must not have leading zeros, with which bash would read it as
# octal.
is_number() {
    [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]] && (($1 >= $2 && $1 <= $3))
}

# $count: "1 node", "8 nodes".
read_count() {
    count="$1 $2"
    (($1 == 1)) || count+=s
}

# $id: the number $1 as $2 binary digits, the name of a node ("0" in a cube of one node).
read_id() {
    local bit
    id=
    for ((bit = $2 - 1; bit >= 0; bit--)); do
        id+=$((($1 >> bit) & 1))
    done
    id=${id:-0}
}

# $path: the path $1 without the current folder before it, for messages.
read_short_path() {
    path=${1#"$caller_folder/"}
    [[ $path == /* || $path == */* ]] || path=./$path
}

# --- building -----------------------------------------------------------------------------------------------------

# $bin: the folder with the programs, which are built unless DHT_BIN_DIR names one: dht-node and dht-cli, and those
# given as arguments. If cargo fails, its output is printed; meanwhile it is in $folder, if the script has one.
build() {
    local programs=(dht-node dht-cli "$@") program_name
    if [[ -n ${DHT_BIN_DIR:-} ]]; then
        bin=$DHT_BIN_DIR
        [[ $bin == /* ]] || bin=$caller_folder/$bin
        for program_name in "${programs[@]}"; do
            [[ -x $bin/$program_name ]] ||
                fail "DHT_BIN_DIR=$DHT_BIN_DIR holds no $program_name" "unset it to have it built"
        done
        return 0
    fi
    command -v cargo >/dev/null ||
        fail "cannot build dht-node: there is no cargo" "install a Rust toolchain: https://rustup.rs" \
            "or name a folder with the programs: DHT_BIN_DIR=DIR ${self:-scripts/$program}"
    local output
    output=$(mktemp "${folder:-${TMPDIR:-/tmp}}/build.XXXXXX")
    if ! run_cargo "$output" "${programs[@]}"; then
        [[ -n ${interrupted:-} ]] || cat "$output" >&2
        rm -f "$output"
        return 1
    fi
    rm -f "$output"
    read_build_folder
}

# Builds the programs $2… with cargo's output in file $1 and one line of progress.
run_cargo() {
    local result=0 words=() program_name
    # Only these packages are selected, so that those which are not needed bring no further features and crates.
    for program_name in "${@:2}"; do
        words+=(-p "$program_name" --bin "$program_name")
    done
    (cd "$project" && cargo build --release --locked --color never "${words[@]}" 2>&1) |
        show_progress "$1" || result=$?
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
    return "$result"
}

# The line is redrawn on a terminal, printed once elsewhere, and omitted if nothing is compiled.
show_progress() {
    local line crate count=0
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$1"
        [[ $line == *Compiling\ * ]] || continue
        count=$((count + 1))
        crate=${line#*Compiling } && crate=${crate%% (*}
        if [[ -t 2 ]]; then
            printf '\r\033[Kbuilding  crate %d: %s' "$count" "$crate" >&2
        elif ((count == 1)); then
            echo "building  dht-node and dht-cli in the release profile; the first time takes a minute or two" >&2
        fi
    done
}

# $bin: the folder of cargo's release builds, which CARGO_TARGET_DIR or a configuration file may change.
read_build_folder() {
    local metadata
    metadata=$(cd "$project" && cargo metadata --format-version 1 --no-deps --locked --offline)
    read_json target_directory "$metadata" || fail "cargo does not say where it builds"
    bin=$value/release
}

# --- a cube of one's own ------------------------------------------------------------------------------------------

# Starts 2^$dimension nodes of $bin on free ports, with their files in $folder. $server: the first of them. It tries
# several times, because another process may take a port between the check and the start.
start_cube() {
    local base index ports tries
    for ((tries = 0; tries < 5; tries++)); do
        base=$((20000 + RANDOM % 10000))
        ports=()
        for ((index = 0; index < 1 << dimension; index++)); do
            ports+=("$((base + index))")
        done
        read_taken_ports "${ports[@]}"
        ((${#taken[@]} == 0)) || continue
        if DHT_BIN_DIR=$bin "$scripts/deploy.sh" --data "$folder/cube" --dimension "$dimension" --base-port "$base" \
            --sync "${sync:-always}" ${replicas:+--replicas "$replicas"} >"$folder/deploy.log" 2>&1; then
            server=127.0.0.1:$base
            return 0
        fi
        end_cube || true
    done
    cat "$folder/deploy.log" >&2
    fail "no cube could be started" "what deploy.sh said stands above"
}

# Stops the nodes that start_cube has started, if any.
end_cube() {
    [[ ! -d $folder/cube ]] || "$scripts/deploy.sh" clean --data "$folder/cube" >/dev/null
}

# --- processes ------------------------------------------------------------------------------------------------

# $started: the start time of process $1. Together with the pid it identifies a process; a pid alone may have been
# reused. Fails if there is no such process, or if it is a zombie.
read_start_time() {
    local stat state
    started=
    if [[ -r /proc/self/stat ]]; then
        { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
        # The second field is the program's name in parentheses and may hold spaces; field 3 follows the last ")".
        # shellcheck disable=SC2086 # split into fields
        set -- ${stat##*) }
        started=${20:-}
        [[ -n $started && $1 != Z && $1 != X ]]
    else
        state=$(ps -o state= -p "$1" 2>/dev/null) || return 1
        started=$(LC_ALL=C TZ=UTC ps -o lstart= -p "$1" 2>/dev/null) || return 1
        started=${started//[[:space:]]/_}
        [[ -n $started && $state != Z* ]]
    fi
}

# Succeeds if process $1, which started at $2, is still running.
process_runs() {
    is_number "$1" 1 999999999 && read_start_time "$1" && [[ $started == "$2" ]]
}

# --- ports ----------------------------------------------------------------------------------------------------

# $listeners: port:inode of every socket that listens on an address through which 127.0.0.1 is reached. Fails without
# /proc/net/tcp.
#
# The tables have a line for every connection of the machine, including those that ended in the last minute: ten
# thousand on a busy one. Bash reads such a file byte by byte, so grep filters it and bash gets only the listening
# sockets.
read_listeners() {
    local address inode
    listeners=
    [[ -r /proc/net/tcp ]] && command -v grep >/dev/null || return 1
    while read -r _ address _ _ _ _ _ _ _ inode _; do
        case ${address%:*} in # 127.0.0.1, every IPv4 address, every IPv6 address, 127.0.0.1 as IPv6
        0100007F | 7F000001 | 00000000 | 00000000000000000000000000000000 | 0000000000000000FFFF00000100007F)
            listeners+=" $((16#${address#*:})):$inode "
            ;;
        esac
    done < <(grep -hE '^ *[0-9]+: [0-9A-F]+:[0-9A-F]+ [0-9A-F]+:[0-9A-F]+ 0A ' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
}

# $taken: those of the ports $@ on which a process listens.
read_taken_ports() {
    local port known=
    taken=()
    ! read_listeners || known=yes
    for port in "$@"; do
        if [[ -n $known ]]; then
            [[ $listeners != *" $port:"* ]] || taken+=("$port")
        elif { true <>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; then
            taken+=("$port")
        fi
    done
}

# $holder: the process that listens on port $1, as far as this user may know it.
read_port_holder() {
    local line pid='' name inode
    holder="a process of another user, or one that ended just now"
    if read_listeners; then
        [[ $listeners == *" $1:"* ]] || return 0
        inode=${listeners#*" $1:"} && inode=${inode%% *}
        while read -r line; do
            case $line in
            /proc/*) line=${line#/proc/} && pid=${line%%/*} ;;
            *"socket:[$inode]")
                { read -r name <"/proc/$pid/comm"; } 2>/dev/null || name="a process"
                holder="$name (pid $pid)"
                return 0
                ;;
            esac
        done < <(ls -l /proc/[0-9]*/fd 2>/dev/null | grep -E "^/proc/|socket:\\[$inode\\]\$")
    elif command -v lsof >/dev/null; then
        pid=$(lsof -nP -t -iTCP:"$1" -sTCP:LISTEN 2>/dev/null | head -n 1) || true
        [[ -z $pid ]] || holder="$(ps -o comm= -p "$pid" || echo "a process") (pid $pid)"
    fi
}

# --- JSON -----------------------------------------------------------------------------------------------------

# $value: the text, number or word of key $1 in the flat JSON object $2. Fails if the key is missing. Escapes within a
# text are not decoded.
read_json() {
    local pattern="\"$1\"[[:space:]]*:[[:space:]]*(\"(([^\"\\\\]|\\\\.)*)\"|[^][:space:],\"{}[]+)"
    [[ $2 =~ $pattern ]] || return 1
    if [[ ${BASH_REMATCH[1]} == \"* ]]; then value=${BASH_REMATCH[2]}; else value=${BASH_REMATCH[1]}; fi
}
