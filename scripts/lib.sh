# What the scripts of this folder share: messages, processes, ports, ids, JSON. Sourced, never run.
#
# Plain bash and coreutils; it also runs in bash 3.2 and without /proc. Functions that answer with a value leave it
# in the variable that their comment names, so that a loop over a thousand nodes starts no subshells.

# fail WHAT [WHY] [WHAT TO DO]: one thought a line on stderr, then exit with $fail_code (1 unless set).
fail() {
    printf '%s: %s\n' "$program" "$1" >&2
    shift
    local line
    for line in "$@"; do
        [[ -z $line ]] || printf '  %s\n' "$line" >&2
    done
    exit "${fail_code:-1}"
}

# A fault of the caller's: exit 2.
fail_usage() {
    fail_code=2 fail "$1" "${2:-}" "see: scripts/$program --help"
}

note() {
    printf '%s: %s\n' "$program" "$*" >&2
}

# Is $1 a whole number between $2 and $3? Without leading zeros, which bash would read as octal.
is_number() {
    [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]] && (($1 >= $2 && $1 <= $3))
}

# $count: "1 node", "8 nodes".
read_count() {
    count="$1 $2"
    (($1 == 1)) || count+=s
}

# $id: the number $1 as $2 binary digits, the way nodes are called ("0" in a cube of one node).
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

# $bin: where cargo puts the programs of a release build; CARGO_TARGET_DIR or a configuration file may move it.
read_build_folder() {
    local metadata
    metadata=$(cd "$project" && cargo metadata --format-version 1 --no-deps --locked --offline)
    read_json target_directory "$metadata" || fail "cargo does not say where it builds"
    bin=$value/release
}

# --- processes ------------------------------------------------------------------------------------------------

# $started: when process $1 began. Together with the pid it names one process for good; a pid alone may have been
# given to a stranger. Fails when there is no such process, or only its unburied remains.
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

# Does process $1, which began at $2, still run?
process_runs() {
    is_number "$1" 1 999999999 && read_start_time "$1" && [[ $started == "$2" ]]
}

# --- ports ----------------------------------------------------------------------------------------------------

# $listeners: port:inode of every socket that listens where 127.0.0.1 reaches it. Fails without /proc/net/tcp.
read_listeners() {
    local table address state inode
    listeners=
    [[ -r /proc/net/tcp ]] || return 1
    for table in /proc/net/tcp /proc/net/tcp6; do
        [[ -r $table ]] || continue
        while read -r _ address _ state _ _ _ _ _ inode _; do
            [[ $state == 0A ]] || continue
            case ${address%:*} in # 127.0.0.1, every IPv4 address, every IPv6 address, 127.0.0.1 as IPv6
            0100007F | 7F000001 | 00000000 | 00000000000000000000000000000000 | 0000000000000000FFFF00000100007F)
                listeners+=" $((16#${address#*:})):$inode "
                ;;
            esac
        done <"$table"
    done
}

# $taken: those of the ports $@ that something listens on.
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

# $holder: who listens on port $1, as far as this user may know it.
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
        done < <(ls -l /proc/[0-9]*/fd 2>/dev/null)
    elif command -v lsof >/dev/null; then
        pid=$(lsof -nP -t -iTCP:"$1" -sTCP:LISTEN 2>/dev/null | head -n 1) || true
        [[ -z $pid ]] || holder="$(ps -o comm= -p "$pid" || echo "a process") (pid $pid)"
    fi
}

# --- JSON -----------------------------------------------------------------------------------------------------

# $value: the text, number or word of key $1 in the flat JSON object $2. Fails when the key is not there. Escapes
# inside a text stay as they are.
read_json() {
    local pattern="\"$1\"[[:space:]]*:[[:space:]]*(\"(([^\"\\\\]|\\\\.)*)\"|[^][:space:],\"{}[]+)"
    [[ $2 =~ $pattern ]] || return 1
    if [[ ${BASH_REMATCH[1]} == \"* ]]; then value=${BASH_REMATCH[2]}; else value=${BASH_REMATCH[1]}; fi
}
