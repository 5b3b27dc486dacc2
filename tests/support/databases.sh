#!/usr/bin/env bash
# Starts and stops a private Redis, PostgreSQL and MariaDB for the tests: unix sockets only, data in a temporary directory.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

usage() {
    cat <<'TEXT'
Usage: tests/support/databases.sh <command> [redis] [postgres] [mariadb] [--name=NAME] [--owner=PID]

  start       starts the given servers (default: all three) with fresh data, waits until they are ready, prints the
              variables that the tests read: eval "$(tests/support/databases.sh start)"
  stop        stops them and removes their data
  stop-owned  stops every server that was started with this --owner
  sweep       stops every server whose owner has exited
  kill        kills them, as a crash would, and keeps the data
  restart     starts them again with the same data and address
  status      lists the servers
  env         prints the variables of the running servers

The default name is "main"; servers with different names run side by side. A server that was started with --owner=PID
stops when that process exits. No server listens on a port, so they do not conflict with those of the machine itself.
TEXT
}

HOME_DIR="$ROOT/build/databases"

command=${1:-}
[ $# -gt 0 ] && shift
name=main
owner=""
kinds=()
while [ $# -gt 0 ]; do
    case "$1" in
        --name=*) name=${1#*=} ;;
        --owner=*) owner=${1#*=} ;;
        redis | postgres | mariadb) kinds+=("$1") ;;
        *) usage >&2; fail "unknown argument '$1'." ;;
    esac
    shift
done
[ ${#kinds[@]} -gt 0 ] || kinds=(redis postgres mariadb)
[[ "$name" =~ ^[A-Za-z0-9_-]+$ ]] || fail "'$name' is not a valid server name." "Use letters, digits, - and _."

# Each server has a directory build/databases/NAME/KIND with the files pid, log and `place`: the path of its temporary
# directory.
each_server() { find "$HOME_DIR" -mindepth 3 -maxdepth 3 -name place -printf '%h\n' 2>/dev/null | sort; }

place() { cat "$1/place" 2>/dev/null; }

# The process of this server's pid file, if it is still that process: pids are reused.
running_pid() { # server directory
    local pid
    pid="$(cat "$1/pid" 2>/dev/null)" || return 1
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$(place "$1")" && echo "$pid"
}

need() { have "$1" || fail "$1 is missing; the tests of the $2 stores need it." "Install it: make setup"; }

postgres_bin() {
    local found
    found="$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | sort -V | tail -n 1)"
    if [ -z "$found" ]; then
        need postgres PostgreSQL
        found="$(command -v postgres)"
    fi
    dirname "$found"
}

# PostgreSQL refuses to run as root: root runs it as the user of its package.
as_database_user() {
    if [ "$(id -u)" -eq 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; else "$@"; fi
}

prepare_redis() { need redis-server Redis; }

prepare_postgres() {
    local bin
    bin="$(postgres_bin)"
    mkdir "$1/data" || return 1
    [ "$(id -u)" -ne 0 ] || chown postgres "$1" "$1/data" || return 1
    (cd "$1" && as_database_user "$bin/initdb" -D "$1/data" -U realtime -A trust -E UTF8 --locale=C --no-sync --no-instructions)
}

prepare_mariadb() {
    need mariadb-install-db MariaDB
    echo 'CREATE DATABASE IF NOT EXISTS realtime CHARACTER SET utf8mb4;' >"$1/init.sql"
    mariadb-install-db --no-defaults --datadir="$1/data" --user="$(id -un)" --auth-root-authentication-method=normal \
        --skip-test-db --skip-name-resolve
}

# The command line of a server in its directory, one word per line; without fsync, as the data is temporary.
command_of() { # kind, place
    case "$1" in
        redis) printf '%s\n' redis-server --port 0 --unixsocket "$2/redis.sock" --save "" --appendonly yes --appendfsync no --dir "$2" ;;
        postgres)
            printf '%s\n' "$(postgres_bin)/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c shared_buffers=32MB -c max_connections=60
            ;;
        mariadb)
            printf '%s\n' "$(command -v mariadbd || echo /usr/sbin/mariadbd)" --no-defaults --datadir="$2/data" --socket="$2/mariadb.sock" \
                --pid-file="$2/mariadb.pid" --init-file="$2/init.sql" --user="$(id -un)" --skip-networking --skip-name-resolve \
                --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 --innodb-use-native-aio=0 --max-connections=60
            ;;
    esac
}

variable_of() { # kind, place
    case "$1" in
        redis) echo "export REALTIME_TEST_REDIS='$2/redis.sock'" ;;
        postgres) echo "export REALTIME_TEST_PGSQL='pgsql:host=$2;dbname=postgres;user=realtime'" ;;
        mariadb) echo "export REALTIME_TEST_MARIADB='mysql:unix_socket=$2/mariadb.sock;dbname=realtime;user=root;charset=utf8mb4'" ;;
    esac
}

# QUIT is PostgreSQL's immediate shutdown: SIGKILL would leave its shared memory behind.
ending_signal() { if [ "$1" = postgres ]; then echo QUIT; else echo KILL; fi; }

# Starts the process and waits until it is ready; returns 1 if it exited or took too long.
launch() { # server directory
    local server=$1 kind=${1##*/} place pid words run=()
    place=$(place "$server")
    mapfile -t words < <(command_of "$kind" "$place")
    [ "$kind" != postgres ] || [ "$(id -u)" -ne 0 ] || run=(setpriv --reuid=postgres --regid=postgres --init-groups --)
    : >"$server/log"
    (cd "$place" && exec setsid "${run[@]}" "${words[@]}") >"$server/log" 2>&1 </dev/null &
    pid=$!
    disown
    echo "$pid" >"$server/pid"
    for _ in {1..300}; do
        if grep -qi 'ready \(to accept\|for\) connections' "$server/log"; then return 0; fi
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# Runs longer than this script: it stops the server even if the test run is killed and cannot clean up.
end_with_owner() { # server directory, owner
    local place
    place=$(place "$1")
    trap "" INT TERM
    while kill -0 "$2" 2>/dev/null && [ "$(place "$1")" = "$place" ]; do sleep 1; done
    if [ "$(place "$1")" = "$place" ]; then remove "$1"; fi
}

start() { # kind
    local server="$HOME_DIR/$name/$1" place
    if running_pid "$server" >/dev/null; then return; fi
    remove "$server"
    mkdir -p "$server"
    # Outside the project: the path of a socket has at most 107 bytes, and PostgreSQL's own user needs access.
    place="$(mktemp -d "${TMPDIR:-/tmp}/realtime-$1.XXXXXX")"
    chmod 711 "$place"
    echo "$place" >"$server/place"
    [ -z "$owner" ] || echo "$owner" >"$server/owner"
    if ! "prepare_$1" "$place" >"$server/log" 2>&1 || ! launch "$server"; then
        tail -n 30 "$server/log" >&2
        fail "$1 did not start (its log is above, and in $server/log)."
    fi
    if [ -n "$owner" ]; then
        end_with_owner "$server" "$owner" >/dev/null 2>&1 </dev/null &
        disown
    fi
}

end() { # server directory, signal; waits until the process has exited
    local pid
    pid=$(running_pid "$1") || return 0
    kill "-$2" "$pid" 2>/dev/null || true
    for _ in {1..100}; do
        running_pid "$1" >/dev/null || return 0
        sleep 0.05
    done
    kill -KILL "$pid" 2>/dev/null || true
    sleep 0.2
}

remove() { # server directory; deletes its data
    local place
    end "$1" "$(ending_signal "${1##*/}")"
    place=$(place "$1") || return 0
    rm -rf "$place" "$1"
    rmdir "${1%/*}" 2>/dev/null || true
}

restart() { # kind
    local server="$HOME_DIR/$name/$1"
    [ -f "$server/place" ] || fail "there is no $1 server '$name' to restart."
    end "$server" "$(ending_signal "$1")"
    launch "$server" || { tail -n 30 "$server/log" >&2; fail "$1 did not start again (log: $server/log)."; }
}

# Servers with this owner; without an owner, servers whose owner exited without cleaning up (a killed test run).
remove_owned() {
    local server by
    while read -r server; do
        by="$(cat "$server/owner" 2>/dev/null)" || continue
        if [ -n "$owner" ] && [ "$by" = "$owner" ] || [ -z "$owner" ] && ! kill -0 "$by" 2>/dev/null; then remove "$server"; fi
    done < <(each_server)
}

show_status() {
    local server
    while read -r server; do
        printf '%-30s pid %-12s %s\n' "${server#"$HOME_DIR"/}" "$(running_pid "$server" || echo 'not running')" "$(place "$server")"
    done < <(each_server)
}

show_env() {
    local kind
    for kind in "${kinds[@]}"; do
        if running_pid "$HOME_DIR/$name/$kind" >/dev/null; then variable_of "$kind" "$(place "$HOME_DIR/$name/$kind")"; fi
    done
}

case "$command" in
    start) for kind in "${kinds[@]}"; do start "$kind"; done; show_env ;;
    stop) for kind in "${kinds[@]}"; do remove "$HOME_DIR/$name/$kind"; done ;;
    stop-owned) [ -n "$owner" ] || fail "stop-owned needs --owner=PID."; remove_owned ;;
    sweep) owner=""; remove_owned ;;
    kill) for kind in "${kinds[@]}"; do end "$HOME_DIR/$name/$kind" "$(ending_signal "$kind")"; done ;;
    restart) for kind in "${kinds[@]}"; do restart "$kind"; done ;;
    status) show_status ;;
    env) show_env ;;
    "" | help | --help) usage ;;
    *) usage >&2; fail "unknown command '$command'." ;;
esac
