#!/usr/bin/env bash
# Starts and stops a cluster of Apache Kafka nodes on the loopback interface, each of which can be killed and restarted.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

usage() {
    cat <<'TEXT'
Usage: tests/support/cluster.sh <command> [--name=NAME] [--nodes=3] [--owner=PID]

  start         starts the nodes with fresh data, waits until each serves, prints their addresses (HOST:PORT,…)
  stop          stops them and removes their data
  kill NUMBER   kills one node, or all nodes ("all"), with SIGKILL and keeps the data
  back NUMBER   restarts a killed node (or all nodes) on the same port with the same data
  address       prints the addresses
  behind        prints the number of under-replicated partitions (0: all replicas are in sync)

Topics have three replicas and min.insync.replicas=2, so that one node may be down at any time. Each node is a node of
tests/support/kafka.sh (NAME-1, NAME-2, …), whose commands status, pause and continue also work for it.
TEXT
}

KAFKA="$ROOT/tests/support/kafka.sh"
HOME_DIR="$ROOT/build/kafka"
# Three nodes share the machine with the clients.
export KAFKA_HEAP="${KAFKA_HEAP:-320m}"
export JDK_JAVA_OPTIONS="-XX:+UseSerialGC -XX:TieredStopAtLevel=1"

command=${1:-}
[ $# -gt 0 ] && shift
name=cluster
nodes=3
owner=""
number=""
while [ $# -gt 0 ]; do
    case "$1" in
        --name=*) name=${1#*=} ;;
        --nodes=*) nodes=${1#*=} ;;
        --owner=*) owner=${1#*=} ;;
        [1-9] | all) number=$1 ;;
        *) fail "unknown argument '$1'." "See: tests/support/cluster.sh help" ;;
    esac
    shift
done

# Distinct free ports below the range of ephemeral ports.
free_ports() { # how many
    local port found=()
    while [ ${#found[@]} -lt "$1" ]; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && [[ " ${found[*]} " != *" $port "* ]]; then
            found+=("$port")
        fi
    done
    echo "${found[@]}"
}

each() { find "$HOME_DIR" -mindepth 1 -maxdepth 1 -type d -name "$name-[1-9]" -printf '%f\n' 2>/dev/null | sort; }

addresses() { each | while read -r node; do cat "$HOME_DIR/$node/address"; done | paste -sd, -; }

write_properties() { # number, port, controller port, voters, replicas
    local in_sync=$(($5 > 1 ? 2 : 1))
    # The properties of the single node, adapted for a cluster.
    sed -e "s|^node.id=.*|node.id=$1|; s|^controller.quorum.voters=.*|controller.quorum.voters=$4|" \
        -e "s|@PORT@|$2|g; s|@CONTROLLER_PORT@|$3|g; s|@DATA@|$HOME_DIR/$name-$1/data|; s|@AUTO_CREATE@|true|" \
        -e "s|replication.factor=1|replication.factor=$5|; s|min.isr=1|min.isr=$in_sync|" \
        "$ROOT/tests/support/kafka/server.properties"
    echo "min.insync.replicas=$in_sync"
    # Detect a dead node, and abort a dead client's transaction, before a test times out.
    echo "broker.session.timeout.ms=4000"
    echo "broker.heartbeat.interval.ms=500"
    echo "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000"
    # Short elections: clients request metadata while an election is running.
    echo "controller.quorum.election.timeout.ms=1000"
    echo "controller.quorum.fetch.timeout.ms=2000"
}

start() {
    local ports voters=() i dir uuid
    "$KAFKA" jars
    "$KAFKA" sweep
    stop
    read -ra ports < <(free_ports $((nodes * 2)))
    for ((i = 0; i < nodes; i++)); do voters+=("$((i + 1))@127.0.0.1:${ports[i * 2 + 1]}"); done
    uuid="$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | cut -c 1-22)"
    for ((i = 1; i <= nodes; i++)); do
        dir="$HOME_DIR/$name-$i"
        mkdir -p "$dir"
        write_properties "$i" "${ports[i * 2 - 2]}" "${ports[i * 2 - 1]}" "$(IFS=,; echo "${voters[*]}")" "$nodes" \
            >"$dir/server.properties"
        echo "127.0.0.1:${ports[i * 2 - 2]}" >"$dir/address"
        echo true >"$dir/auto_create"
        [ -z "$owner" ] || echo "$owner" >"$dir/owner"
        "$KAFKA" tool kafka.tools.StorageTool format -t "$uuid" -c "$dir/server.properties" >"$dir/format.log" 2>&1 &
    done
    wait
    number=all
    launch
    addresses
}

# Start "all" nodes in parallel: no node serves requests until a majority can vote.
launch() {
    local node starting=()
    while read -r node; do
        "$KAFKA" restart --name="$node" >/dev/null &
        starting+=($!)
    done < <(meant)
    for node in "${starting[@]}"; do
        wait "$node" || fail "the cluster '$name' did not start (its logs: $HOME_DIR/$name-*/server.log)."
    done
}

meant() { if [ "$number" = all ]; then each; else echo "$name-$number"; fi; }

stop() {
    local node
    each | while read -r node; do "$KAFKA" stop --name="$node"; done
}

need_number() { [ -n "$number" ] || fail "the number of the node is missing." "Usage: tests/support/cluster.sh $command 2 --name=$name"; }

behind() {
    "$KAFKA" tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$(addresses)" --describe \
        --under-replicated-partitions 2>/dev/null | grep -c 'Partition:' || true
}

case "$command" in
    start) start ;;
    stop) stop ;;
    kill) need_number; meant | while read -r node; do "$KAFKA" kill --name="$node"; done ;;
    back) need_number; launch ;;
    address) addresses ;;
    behind) behind ;;
    "" | help | --help) usage ;;
    *) usage >&2; fail "unknown command '$command'." ;;
esac
