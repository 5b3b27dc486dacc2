#!/usr/bin/env bash
# The demo: embedded broker, two services, gateway, web page, customer, for 20 seconds. Needs no Kafka, leaves no files.
#
#   DEMO_SECONDS=600 make demo    run for 600 seconds; 0: until Ctrl-C
#   DEMO_PORT=8080 make demo      port of the page; default: any free port

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

DEMO_SECONDS=${DEMO_SECONDS:-20}
DEMO_PORT=${DEMO_PORT:-0}
[[ "$DEMO_SECONDS" =~ ^[0-9]+$ ]] || fail "DEMO_SECONDS is '$DEMO_SECONDS'; it must be a number of seconds, or 0 for no limit."
[[ "$DEMO_PORT" =~ ^[0-9]+$ ]] || fail "DEMO_PORT is '$DEMO_PORT'; it must be a port number, or 0 for any free port."
need_extension
have "$PHP" || fail "$PHP is missing." "Install it: make setup"
"$ROOT/tools/npm.sh" demo

# The demo is configured by config/realtime.php in this directory, as an application is.
cd "$ROOT/examples/demo"
state="$(mktemp -d "${TMPDIR:-/tmp}/realtime-demo.XXXXXX")"
export DEMO_STATE="$state" DEMO_JOURNAL="$state/journal" DEMO_SECONDS
: >"$DEMO_JOURNAL"
unset KAFKA_TOPIC_PREFIX KAFKA_CONSUMER_GROUP KAFKA_TOPIC_STRATEGY REALTIME_BROKER REALTIME_SPOOL
unset REALTIME_GATEWAY_HOST REALTIME_GATEWAY_PORT

# A gateway rejects well-known secrets, so they are generated for each run.
random() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'; }
REALTIME_APP_KEY="$(random 10)"
REALTIME_APP_SECRET="$(random 32)"
export REALTIME_APP_ID=demo REALTIME_APP_KEY REALTIME_APP_SECRET REALTIME_OPS_LISTEN=off

# Load the extension only if PHP's own configuration does not load it already.
php=("$PHP")
"$PHP" -r 'exit(extension_loaded("toporia_realtime") ? 0 : 1);' || php+=(-d "extension=$REALTIME_EXTENSION")

pids=()
declare -A pid_of=()

start() { # name, command …
    local name=$1
    shift
    # In its own session, so that Ctrl-C reaches only the customer, which then waits for the last orders.
    setsid "$@" >"$state/$name.log" 2>&1 </dev/null &
    pids+=($!)
    pid_of[$name]=$!
}

# Stops in reverse order, so that workers can leave their group while the broker still runs.
stop_all() {
    local i pid tries
    trap '' INT TERM HUP
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        pid=${pids[$i]}
        kill -TERM "$pid" 2>/dev/null || true
        for ((tries = 0; tries < 80; tries++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$state"
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

wait_for() { # name, regular expression; waits until the log matches and prints the match
    local name=$1 pattern=$2 tries found
    for ((tries = 0; tries < 200; tries++)); do
        found="$(grep -soE -m 1 "$pattern" "$state/$name.log" || true)"
        if [ -n "$found" ]; then
            echo "$found"
            return
        fi
        kill -0 "${pid_of[$name]}" 2>/dev/null || break
        sleep 0.1
    done
    sed "s/^/       /" "$state/$name.log" >&2
    fail "the demo's $name exited or did not start within 20 s; its output is above."
}

console=("${php[@]}" "$ROOT/console")

say "An embedded broker:  ./console realtime:kafka:dev --topic=demo.shop:4 --topic=demo.user:4"
start broker "${console[@]}" realtime:kafka:dev --port=0 --topic=demo.shop:4 --topic=demo.user:4
KAFKA_BROKERS="$(wait_for broker 'listens on [0-9.]+:[0-9]+')"
export KAFKA_BROKERS=${KAFKA_BROKERS##* }
note "Kafka's protocol on $KAFKA_BROKERS, topics demo.shop and demo.user with 4 partitions each"

say "Two services, each with its own consumer group, so that each receives every order:"
for service in kitchen accounts; do
    note "./console realtime:kafka:consume --group=$service --channels='shop.*' --handler='Demo\\OrderHandler'"
    start "$service" env DEMO_SERVICE=$service "${console[@]}" realtime:kafka:consume \
        --group=$service --channels='shop.*' --handler='Demo\OrderHandler'
done
for service in kitchen accounts; do
    assigned="$(wait_for $service 'assigned: .*')"
    note "$service $assigned"
done

say "A web page:          php -S 127.0.0.1:$DEMO_PORT web.php"
start web "${php[@]}" -S "127.0.0.1:$DEMO_PORT" web.php
url="$(wait_for web 'http://[0-9.]+:[0-9]+')"

say "The WebSocket gateway:  ./console realtime:gateway"
start gateway env REALTIME_ALLOWED_ORIGINS="$url,${url/127.0.0.1/localhost}" "$ROOT/examples/demo/gateway.sh" "$state" \
    "${console[@]}" realtime:gateway
note "$(wait_for gateway 'the gateway listens on [0-9.]+:[0-9]+'), app key and secret generated for this run"

if [ "$DEMO_SECONDS" -eq 0 ]; then length="until Ctrl-C"; else length="for $DEMO_SECONDS s"; fi
say "The page: open $url and place orders ($length)"

say "A customer that places an order every second:"
# Ctrl-C reaches the customer directly. Waiting for a background process lets bash run the SIGTERM trap without delay.
trap : INT
"${php[@]}" customer.php &
pids+=($!)
while true; do
    status=0
    wait "${pids[-1]}" || status=$?
    if [ "$status" -le 128 ] || ! kill -0 "${pids[-1]}" 2>/dev/null; then
        exit "$status"
    fi
done
