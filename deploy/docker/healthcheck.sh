#!/bin/sh
# Whether the process of this container is live: asks /live of its listener, or looks at the age of its heartbeat file.
#
#   REALTIME_HEARTBEAT_FILE    is looked at where it is set: older than REALTIME_HEARTBEAT_MAX_AGE seconds (90) is bad
#   REALTIME_HEALTH_ADDRESS    else /live is asked there: 127.0.0.1:9101, where --metrics=0.0.0.0:9101 listens
set -eu

if [ -n "${REALTIME_HEARTBEAT_FILE:-}" ]; then
    written=$(stat -c %Y "$REALTIME_HEARTBEAT_FILE" 2>/dev/null) || { echo "There is no heartbeat at $REALTIME_HEARTBEAT_FILE." >&2; exit 1; }
    age=$(($(date +%s) - written))
    [ "$age" -le "${REALTIME_HEARTBEAT_MAX_AGE:-90}" ] || { echo "The last heartbeat is $age s old." >&2; exit 1; }
    exit 0
fi

# shellcheck disable=SC2016  # PHP's variables, not the shell's
exec php -n -r '
    $context = stream_context_create(["http" => ["timeout" => 4, "ignore_errors" => true]]);
    $answer = @file_get_contents($argv[1], false, $context);
    $status = $http_response_header[0] ?? "no answer";
    if (str_contains($status, " 200")) { exit(0); }
    fwrite(STDERR, "$argv[1]: $status ".trim((string) $answer)."\n");
    exit(1);
' "http://${REALTIME_HEALTH_ADDRESS:-127.0.0.1:9101}/live"
