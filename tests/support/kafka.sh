#!/usr/bin/env bash
# Starts and stops an Apache Kafka for the tests: one node on the loopback interface, on free ports, with its data in
# build/kafka.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

usage() {
    cat <<'TEXT'
Usage: tests/support/kafka.sh <command> [--name=NAME] [--no-auto-create] [--secure] [--property=NAME=VALUE] [--proxy=PORT] [--owner=PID] [--address=HOST:PORT]

  jars        downloads Kafka's jars through Maven if they are missing
  start       starts a node with fresh data, waits until it is ready, prints its address
  stop        stops the node and removes its data
  stop-owned  stops every node that was started with this --owner
  sweep       stops every node whose owner has exited
  restart     stops the node and starts it again with the same port and data
  pause       suspends the process (SIGSTOP): the broker accepts connections but does not respond
  continue    resumes a paused node
  kill        kills the node (SIGKILL) and keeps the data: restart starts it again
  status      lists the nodes and their addresses
  secure      prints the listeners and certificates of a node that was started with --secure, NAME=VALUE
  env         prints the variables that the tests read, for: eval "$(tests/support/kafka.sh env)"

  topics                     lists the topics
  create TOPIC [PARTITIONS]  creates a topic
  count TOPIC                prints the number of records in a topic, from Kafka's offsets
  groups                     describes every consumer group
  acl [ARGUMENTS]            changes or lists access rights (Kafka's AclCommand)
  tool CLASS [ARGUMENTS]     runs a class of Kafka's tools

The commands from "topics" on use --address if it is given, otherwise the named node.
Several nodes can run side by side under different names. The default name is "main", or "strict" with --no-auto-create
(topics must be created first). With --secure a node also has listeners with TLS and SASL, users and ACLs:
kafka/secure.sh. A node that was started with --owner=PID stops when that process exits. With --proxy=PORT a node
has another listener that is advertised as 127.0.0.1:PORT, for a proxy there; the command secure prints its port.
TEXT
}

HOME_DIR="$ROOT/build/kafka"
LIB="$HOME_DIR/lib"
POM="$ROOT/tests/support/kafka/pom.xml"

# shellcheck source=tests/support/kafka/secure.sh
. "$ROOT/tests/support/kafka/secure.sh"

command=${1:-}
[ $# -gt 0 ] && shift
name=""
auto_create=true
secure=false
owner=""
proxy=""
at=""
arguments=()
properties=()
while [ $# -gt 0 ]; do
    case "$1" in
        --name=*) name=${1#*=} ;;
        --no-auto-create) auto_create=false ;;
        --secure) secure=true ;;
        --property=*) properties+=("${1#*=}") ;;
        --proxy=*) proxy=${1#*=} ;;
        --owner=*) owner=${1#*=} ;;
        --address=*) at=${1#*=} ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
if [ -z "$name" ]; then
    if [ "$auto_create" = true ]; then name=main; else name=strict; fi
fi
[[ "$name" =~ ^[A-Za-z0-9_-]+$ ]] || fail "'$name' is not a valid node name." "Use letters, digits, - and _."
node="$HOME_DIR/$name"

fetch_jars() {
    if [ "$LIB/.complete" -nt "$POM" ]; then
        return
    fi
    have mvn || fail "Maven is missing; it downloads Kafka's jars." "Install it: make setup"
    say "Downloading Apache Kafka's jars (54 MB) through Maven into build/kafka/lib"
    mkdir -p "$HOME_DIR"
    (
        # Concurrent test runs must not write to the same directory.
        flock 9
        [ "$LIB/.complete" -nt "$POM" ] && exit 0
        rm -rf "$LIB"
        mvn -q -B -f "$POM" dependency:copy-dependencies -DoutputDirectory="$LIB" >"$HOME_DIR/maven.log" 2>&1 && touch "$LIB/.complete"
    ) 9>"$HOME_DIR/lock" || {
        tail -n 20 "$HOME_DIR/maven.log" >&2
        fail "Maven could not download Kafka's jars (log: $HOME_DIR/maven.log)." "Is Maven Central reachable? Behind a proxy, set it in ~/.m2/settings.xml."
    }
}

java_tool() { java -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$LIB/*" "$@"; }

# Below the range of ephemeral ports (32768 and up), so that no outgoing connection takes the port before Kafka does.
free_port() {
    local port
    for _ in {1..50}; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    fail "no free port found between 20000 and 32000."
}

# The process of this node's pid file, if it is still that process: pids are reused.
running_pid() {
    local dir=${1:-$node} pid
    pid="$(cat "$dir/pid" 2>/dev/null)" || return 1
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$dir/server.properties" && echo "$pid"
}

address() { cat "${1:-$node}/address" 2>/dev/null; }

need_running() { running_pid >/dev/null || fail "the Kafka node '$name' is not running." "Start it: tests/support/kafka.sh start --name=$name"; }

# One of Kafka's tools, on --address or on the named node.
admin() {
    local class=$1
    shift
    if [ -z "$at" ]; then
        need_running
        at=$(address)
    fi
    java_tool "$class" --bootstrap-server "$at" "$@"
}

proxied_listener() {
    local port
    port=$(free_port)
    echo "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT" >>"$node/server.properties"
    add_listener proxied PLAINTEXT "$port" "127.0.0.1:$proxy"
}

configure_node() {
    local port controller_port
    local format=()
    rm -rf "$node"
    mkdir -p "$node"
    port=$(free_port)
    controller_port=$(free_port)
    sed -e "s|@PORT@|$port|g; s|@CONTROLLER_PORT@|$controller_port|g; s|@DATA@|$node/data|; s|@AUTO_CREATE@|$auto_create|" \
        "$ROOT/tests/support/kafka/server.properties" >"$node/server.properties"
    [ ${#properties[@]} -eq 0 ] || printf '%s\n' "${properties[@]}" >>"$node/server.properties"
    echo "127.0.0.1:$port" >"$node/address"
    echo "$auto_create" >"$node/auto_create"
    [ -z "$owner" ] || echo "$owner" >"$node/owner"
    [ -z "$proxy" ] || proxied_listener
    if [ "$secure" = true ]; then
        secure_node >"$node/format.arguments"
        mapfile -t format <"$node/format.arguments"
    fi
    java_tool kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | cut -c 1-22)" \
        -c "$node/server.properties" "${format[@]}" >"$node/format.log" 2>&1 || {
        cat "$node/format.log" >&2
        fail "Kafka could not format its data directory $node/data."
    }
}

# Runs longer than this script: it stops the broker even if the test run is killed and cannot clean up.
end_with_owner() { # owner, process
    trap "" INT TERM
    while kill -0 "$1" && kill -0 "$2"; do sleep 1; done
    kill -KILL "$2"
}

# Starts the process and waits until Kafka reports that it is ready; returns 1 if it exited or took too long.
launch_node() {
    local pid
    : >"$node/server.log"
    setsid java "-Xmx${KAFKA_HEAP:-512m}" \
        "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://$node/tls/jwks.json" \
        "-Dorg.apache.kafka.sasl.oauthbearer.allowed.files=$node/tls/jwks.json" -cp "$LIB/*" kafka.Kafka "$node/server.properties" >"$node/server.log" 2>&1 </dev/null &
    pid=$!
    disown
    echo "$pid" >"$node/pid"
    if [ -f "$node/owner" ]; then
        end_with_owner "$(cat "$node/owner")" "$pid" >/dev/null 2>&1 </dev/null &
        disown
    fi
    for _ in {1..600}; do
        if grep -q 'Kafka Server started' "$node/server.log"; then
            return 0
        fi
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

start_node() {
    local try
    fetch_jars
    sweep
    if running_pid >/dev/null; then
        address
        return
    fi
    for try in 1 2 3; do
        configure_node
        if launch_node; then
            [ "$secure" = false ] || allow_shop
            write_env
            address
            return
        fi
        end_process KILL
        # Another process took a port between the check and the start: try other ports. Other errors are permanent.
        grep -q BindException "$node/server.log" || break
    done
    tail -n 40 "$node/server.log" >&2
    fail "Kafka did not start (attempt $try; its log is above, and in $node/server.log)."
}

end_process() { # signal; waits until the process has exited
    local pid dir=${2:-$node}
    pid=$(running_pid "$dir") || return 0
    kill -CONT "$pid" 2>/dev/null || true
    kill "-$1" "$pid" 2>/dev/null || true
    for _ in {1..200}; do
        running_pid "$dir" >/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    sleep 0.2
}

remove_node() { # deletes the data, so a clean shutdown is not needed
    end_process KILL "$1"
    rm -rf "$1"
    write_env
}

each_node() { find "$HOME_DIR" -mindepth 2 -maxdepth 2 -name address -printf '%h\n' 2>/dev/null | sort; }

# Nodes whose owner exited without cleaning up (a killed test run).
sweep() {
    local dir
    while read -r dir; do
        if [ -f "$dir/owner" ] && ! kill -0 "$(cat "$dir/owner")" 2>/dev/null; then
            remove_node "$dir"
        fi
    done < <(each_node)
}

stop_owned() {
    local dir
    [ -n "$owner" ] || fail "stop-owned needs --owner=PID."
    while read -r dir; do
        if [ "$(cat "$dir/owner" 2>/dev/null)" = "$owner" ]; then remove_node "$dir"; fi
    done < <(each_node)
}

# The addresses of the nodes that were started manually, for running PHPUnit without make.
write_env() {
    {
        [ ! -f "$HOME_DIR/main/address" ] || echo "export REALTIME_TEST_BROKERS=$(address "$HOME_DIR/main")"
        [ ! -f "$HOME_DIR/strict/address" ] || echo "export REALTIME_TEST_BROKERS_STRICT=$(address "$HOME_DIR/strict")"
    } >"$HOME_DIR/env"
}

show_status() {
    local dir pid
    while read -r dir; do
        pid=$(running_pid "$dir") || pid="not running"
        printf '%-20s %-18s pid %s, auto-create %s\n' "${dir##*/}" "$(address "$dir")" "$pid" "$(cat "$dir/auto_create")"
    done < <(each_node)
}

case "$command" in
    jars) fetch_jars ;;
    start) start_node ;;
    stop) remove_node "$node" ;;
    stop-owned) stop_owned ;;
    sweep) sweep ;;
    restart)
        [ -f "$node/server.properties" ] || fail "there is no Kafka node '$name' to restart."
        end_process TERM
        launch_node || { tail -n 40 "$node/server.log" >&2; fail "Kafka did not start again (log: $node/server.log)."; }
        address
        ;;
    pause) need_running; kill -STOP "$(running_pid)" ;;
    continue) need_running; kill -CONT "$(running_pid)" ;;
    kill) need_running; end_process KILL ;;
    status) show_status ;;
    env) cat "$HOME_DIR/env" 2>/dev/null || true ;;
    topics) admin org.apache.kafka.tools.TopicCommand --list ;;
    create)
        admin org.apache.kafka.tools.TopicCommand --create --if-not-exists \
            --topic "${arguments[0]:?a topic}" --partitions "${arguments[1]:-1}" --replication-factor 1
        ;;
    count)
        admin org.apache.kafka.tools.GetOffsetShell --topic "${arguments[0]:?a topic}" \
            | awk -F: '{ records += $3 } END { print records + 0 }'
        ;;
    secure) cat "$node/secure" 2>/dev/null || fail "the node '$name' was not started with --secure." ;;
    acl) admin org.apache.kafka.tools.AclCommand "${arguments[@]}" ;;
    groups) admin org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --all-groups --describe ;;
    tool) fetch_jars; java_tool "${arguments[@]}" ;;
    "" | help | --help) usage ;;
    *) usage >&2; fail "unknown command '$command'." ;;
esac
