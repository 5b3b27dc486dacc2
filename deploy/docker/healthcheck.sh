#!/bin/sh
# Checks the liveness of the container's process: requests /live, or checks the age of its heartbeat file.
#
#   REALTIME_HEARTBEAT_FILE    if set, the check fails if this file is older than REALTIME_HEARTBEAT_MAX_AGE seconds (90)
#   REALTIME_HEALTH_ADDRESS    otherwise, the address of /live: 127.0.0.1:9101 by default, as for --metrics=0.0.0.0:9101
set -eu

if [ -n "${REALTIME_HEARTBEAT_FILE:-}" ]; then
    written=$(stat -c %Y "$REALTIME_HEARTBEAT_FILE" 2>/dev/null) || { echo "The heartbeat file $REALTIME_HEARTBEAT_FILE does not exist." >&2; exit 1; }
    age=$(($(date +%s) - written))
    [ "$age" -le "${REALTIME_HEARTBEAT_MAX_AGE:-90}" ] || { echo "The last heartbeat is $age s old." >&2; exit 1; }
    exit 0
fi

# shellcheck disable=SC2016  # PHP's variables, not the shell's
exec php -n -r '
    $context = stream_context_create(["http" => ["timeout" => 4, "ignore_errors" => true]]);
    $stream = @fopen($argv[1], "r", false, $context);
    $status = $stream ? stream_get_meta_data($stream)["wrapper_data"][0] : "no response";
    $body = $stream ? stream_get_contents($stream) : "";
    if (str_contains($status, " 200")) { exit(0); }
    fwrite(STDERR, "$argv[1]: $status ".trim((string) $body)."\n");
    exit(1);
' "http://${REALTIME_HEALTH_ADDRESS:-127.0.0.1:9101}/live"
