#!/usr/bin/env bash
# Keeps one gateway running. A file named "restart" in the demo's directory: a second one starts beside it, and takes over.
#
#   gateway.sh STATE COMMAND…     writes the gateway's address into STATE/gateway

set -uo pipefail
state=$1
shift
current=""
number=0

# Waits until the newest gateway listens; its log says where.
start() {
    local port=$1 tries found
    shift
    number=$((number + 1))
    "$@" --port="$port" >"$state/gateway-$number.log" 2>&1 </dev/null &
    successor=$!
    for ((tries = 0; tries < 200; tries++)); do
        found="$(sed -nE 's/.*listens on ([0-9.]+:[0-9]+).*/\1/p;T;q' "$state/gateway-$number.log" 2>/dev/null)"
        if [ -n "$found" ]; then
            echo "$found" >"$state/gateway"
            return 0
        fi
        kill -0 "$successor" 2>/dev/null || break
        sleep 0.1
    done
    cat "$state/gateway-$number.log"
    kill -KILL "$successor" 2>/dev/null
    return 1
}

trap 'kill -TERM "$current" 2>/dev/null; wait "$current"; exit 0' TERM

start 0 "$@" || exit 1
current=$successor
echo "the gateway listens on $(cat "$state/gateway")"
while sleep 0.1; do
    if [ -e "$state/restart" ] || ! kill -0 "$current" 2>/dev/null; then
        rm -f "$state/restart"
        before=$current
        port="$(cut -d: -f2 "$state/gateway")"
        # Both listen on one port for a moment (SO_REUSEPORT): whoever comes back finds one that accepts.
        start "$port" "$@" || continue
        current=$successor
        kill -TERM "$before" 2>/dev/null
        wait "$before" 2>/dev/null
    fi
done
