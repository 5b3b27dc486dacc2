#!/usr/bin/env bash
# Injects faults into a Kafka cluster and its clients, at random from a seed, and checks the promised guarantees.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

usage() {
    cat <<'TEXT'
Usage: tests/chaos/run.sh [--mode=all] [--messages=1000000] [--seed=…] [--workers=4] [--seconds=120] [--rate=3000]
                          [--callbacks=all] [--nodes=3]
   or: make chaos MODE=… MESSAGES=… SEED=… WORKERS=… SECONDS=… RATE=… CALLBACKS=… NODES=…

  --mode       at-least-once, at-most-once, exactly-once: numbered messages through workers that are killed, frozen and
               replaced, whose callbacks throw, sleep, exit and exhaust memory, while Kafka nodes are killed and restarted
               fpm: requests to a PHP-FPM that is reloaded repeatedly
               outage: a producer during a one-minute outage of Kafka, and its restart within it
               memory: one long-running worker with throwing callbacks
               Several: --mode=fpm,outage. Default: all of them
  --messages   number of messages in each of the first three; sent at --rate per second at most, and not faster than in
               --seconds in total, so that there is time for faults
  --seed       decides every fault and every callback; printed, so that a run can be repeated
  --callbacks  all; throwing: none of them ends its process; calm: they are only slow
  --nodes      of the cluster: 3 (replication 3, min.insync.replicas 2), or 1, which is not killed in exactly-once: a single node
               would skip the markers that end a transaction

Exit code 1 if a guarantee was violated: the table names it, notes and logs are kept in build/chaos.
TEXT
}

nodes=3
arguments=()
for argument in "$@"; do
    case "$argument" in
        # make chaos passes unset variables as empty values.
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
