#!/usr/bin/env bash
# Runs a systemd of its own, in a mount namespace that SystemdTest has made, and takes a worker through its life; prints what
# it sees as name=value. The application's directory is the argument.
set -euo pipefail

app=$1
unit=toporia-realtime-consume@orders
# A user's systemd wants a machine that was booted with one; this is how it looks.
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user-test
chmod 700 /run/user-test
export XDG_RUNTIME_DIR=/run/user-test
unset DBUS_SESSION_BUS_ADDRESS

/lib/systemd/systemd --user --unit=basic.target >"$app/systemd.log" 2>&1 &
manager=$!
# shellcheck disable=SC2064  # this process, now
trap "kill -KILL -- -$manager 2>/dev/null || kill -KILL $manager 2>/dev/null || true" EXIT

ctl() { systemctl --user --no-pager "$@"; }
of() { ctl show --property="$1" --value "${2:-$unit}"; }
until_is() { # seconds, wanted (a pattern), command …
    local end=$((SECONDS + $1)) wanted=$2
    shift 2
    # shellcheck disable=SC2053  # a pattern, where it is one
    until [[ $("$@") == $wanted ]]; do
        ((SECONDS < end)) || { echo "not within its time: $* is $("$@"), not $wanted" >&2; ctl status "$unit" >&2; cat "$app/systemd.log" >&2; exit 1; }
        sleep 0.1
    done
}

until_is 10 'running' sh -c 'systemctl --user is-system-running 2>/dev/null || true'
timeout 30 systemctl --user start "$unit"
echo "started=$(of ActiveState)"
until_is 30 '*' test -s "$app/log"

first=$(of MainPID)
kill -STOP "$first"
until_is 20 1 of NRestarts
# Says why the one before was ended.
grep -q "$unit.service: Watchdog timeout" "$app/systemd.log" && echo "frozen=watchdog"
until_is 30 active of ActiveState
echo "again=$(of ActiveState)"

before=$(of MainPID)
echo "before=$before"
ctl reload "$unit" || true
until_is 30 2 of NRestarts
until_is 30 active of ActiveState
echo "after=$(of MainPID)"
echo "reload_exit=$(grep -c "Main process exited, code=exited, status=[1-9]" "$app/systemd.log" || true)"

ctl stop "$unit"
echo "stopped=$(of Result)"

systemctl --user start toporia-realtime-consume@wrong 2>/dev/null || true
until_is 20 failed of ActiveState toporia-realtime-consume@wrong
echo "wrong=$(of ActiveState toporia-realtime-consume@wrong) $(of NRestarts toporia-realtime-consume@wrong)"
ctl exit || true
