#!/usr/bin/env bash
# Breaks a Kafka cluster and everybody who uses it, at random from a seed, and counts what was promised.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

usage() {
    cat <<'TEXT'
Usage: tests/chaos/run.sh [--mode=all] [--messages=1000000] [--seed=…] [--workers=4] [--seconds=120] [--rate=3000]
                          [--callbacks=all] [--nodes=3]
   or: make chaos MODE=… MESSAGES=… SEED=… WORKERS=… SECONDS=… RATE=… CALLBACKS=… NODES=…

  --mode       at-least-once, at-most-once, exactly-once: numbered messages through workers that are killed, frozen and
               replaced, whose callbacks throw, sleep, exit and exhaust memory, while nodes of Kafka die and come back
               fpm: requests to a PHP-FPM that is reloaded again and again
               outage: a producer whose Kafka is down for a minute, and that ends meanwhile
               memory: one worker with throwing callbacks, for long
               Several: --mode=fpm,outage. Default: all of them
  --messages   how many, in each of the first three; they are sent at --rate a second at most, and not faster than in
               --seconds altogether, so that there is time for trouble
  --seed       decides every fault and every callback; printed, so that a run can be repeated
  --callbacks  all; throwing: none of them ends its process; calm: they only take their time
  --nodes      of the cluster: 3 (replication 3, min.insync.replicas 2), or 1, which is not killed in exactly-once: alone
               it would skip the markers that end a transaction

Exit code 1 where a promise was broken: its table says which, its notes and logs stay in build/chaos.
TEXT
}

nodes=3
arguments=()
for argument in "$@"; do
    case "$argument" in
        # make chaos passes what was not given as an empty value.
        --*=) ;;
        --nodes=*) nodes=${argument#*=} ;;
        --help | -h)
            usage
            exit
            ;;
        --*=*) arguments+=("$argument") ;;
        *)
            usage >&2
            fail "unknown argument '$argument'."
            ;;
    esac
done

cd "$ROOT"
need_extension
KAFKA="$ROOT/tests/support/kafka.sh"
CLUSTER="$ROOT/tests/support/cluster.sh"
trap '"$KAFKA" stop-owned --owner=$$; "$KAFKA" sweep' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Starting Apache Kafka: $nodes node(s)"
"$CLUSTER" start --name="chaos-$$" --nodes="$nodes" --owner=$$ >/dev/null

"$PHP" -d "extension=$REALTIME_EXTENSION" -d memory_limit=1G tests/chaos/run.php --cluster="chaos-$$" \
    --directory="$ROOT/build/chaos" --extension="$REALTIME_EXTENSION" "${arguments[@]}"
