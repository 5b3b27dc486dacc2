#!/usr/bin/env bash
# Keeps one gateway running. When STATE/restart exists, starts a second gateway on the same port, then stops the first.
#
#   gateway.sh STATE COMMAND…     writes the gateway's address into STATE/gateway

set -uo pipefail
state=$1
shift
current=""
number=0

# Starts a gateway and waits until it listens; the address is read from its log.
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
        # Both listen on the port for a moment (SO_REUSEPORT), so a client that reconnects is always accepted.
        start "$port" "$@" || continue
        current=$successor
        kill -TERM "$before" 2>/dev/null
        wait "$before" 2>/dev/null
    fi
done
