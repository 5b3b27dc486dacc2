#!/usr/bin/env bash
# Runs a private systemd, in a mount namespace made by SystemdEmbeddedTest, and takes a worker through its lifecycle;
# prints its observations as name=value. The arguments are the application's directory and the port of a gateway.
set -euo pipefail

app=$1
gateway=toporia-realtime-gateway@$2
unit=toporia-realtime-consume@orders

# A user's systemd expects a machine that was booted with one; these files look like it.
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/systemd/inaccessible/dir /run/user-test
chmod 700 /run/user-test
(
    cd /run/systemd/inaccessible
    : >reg
    mkfifo fifo
    mknod chr c 0 0
    mknod blk b 0 0
    chmod 000 -- *
)
export XDG_RUNTIME_DIR=/run/user-test
unset DBUS_SESSION_BUS_ADDRESS

/lib/systemd/systemd --user --unit=basic.target >/dev/null 2>&1 &
manager=$!
# shellcheck disable=SC2064  # this process, now
trap "kill -KILL $manager 2>/dev/null || true" EXIT

ctl() { systemctl --user --no-pager "$@"; }
of() { ctl show --property="$1" --value "${2:-$unit}" 2>/dev/null || true; }
until_is() { # seconds, wanted, property, unit
    local end=$((SECONDS + $1)) unit=${4:-$unit}
    until [[ "$(of "$3" "$unit")" == "$2" ]]; do
        if ((SECONDS >= end)); then
            echo "Not within $1 s: $3 is $(of "$3" "$unit"), not $2." >&2
            ctl status "$unit" >&2 || true
            exit 1
        fi
        sleep 0.05
    done
}

until [ -S "$XDG_RUNTIME_DIR/systemd/private" ] || ((SECONDS > 15)); do sleep 0.05; done
timeout 60 systemctl --user start "$unit"
echo "started=$(of ActiveState)"
until [ -s "$app/log" ] || ((SECONDS > 40)); do sleep 0.1; done
# commit_interval_ms and a margin: handled records are committed.
sleep 2

# Frozen: systemd gets no notifications, kills it, and starts another one.
kill -STOP "$(of MainPID)"
until_is 20 auto-restart SubState
echo "frozen=$(of Result)"
until_is 30 active ActiveState
echo "again=$(of NRestarts)"

echo "before=$(of MainPID)"
ctl reload "$unit" || true
until_is 30 auto-restart SubState
echo "reloaded=$(of Result) $(of ExecMainStatus)"
until_is 30 active ActiveState
echo "after=$(of MainPID)"

ctl stop "$unit"
echo "stopped=$(of Result) $(of ExecMainStatus)"

ctl start toporia-realtime-consume@wrong 2>/dev/null || true
until_is 20 failed ActiveState toporia-realtime-consume@wrong
echo "wrong=$(of ExecMainStatus toporia-realtime-consume@wrong) $(of NRestarts toporia-realtime-consume@wrong)"
# Ready when the start returns; the test connects its browsers and writes browsers-done.
timeout 60 systemctl --user start "$gateway"
echo "gateway=$(of ActiveState "$gateway")"
touch "$app/gateway-started"
until [ -e "$app/browsers-done" ] || ((SECONDS > 100)); do sleep 0.05; done
ctl stop "$gateway"
echo "gateway-stopped=$(of Result "$gateway") $(of ExecMainStatus "$gateway")"

ctl exit || true
wait "$manager" || true
