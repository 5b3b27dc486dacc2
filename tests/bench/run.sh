#!/usr/bin/env bash
# Measures the extension and its peers, on Apache Kafka and on the embedded broker, and prints one table.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

usage() {
    cat <<'TEXT'
Usage: tests/bench/run.sh [--only=abcdeg] [--on=kafka,embedded] [--messages=1000000] [--rounds=7] [--runs=150]
                          [--memory=2000000] [--quick]

  a  broadcast(): CPU time per message, flush at the end included
  b  consume(): CPU time per message, event and data, event only
  c  what one broadcast with its flush adds to a request and to a short script
  d  memory over many messages each way (on Kafka)
  e  from the command's start to its first record
  g  the gateway: fan-out, idle connections, a slow client; from Kafka to the socket

  --quick  few messages, few rounds: does it run at all?

Peers: php-rdkafka, built with the same librdkafka if its source can be had (rdkafka.sh), with the same settings;
json_encode alone; and a plain Rust loop over the same librdkafka (limit.rs), which is the limit. Ratios are those within
a round, as other programs change all times together. Close them all the same: they fill the processors' caches.
TEXT
}

only=abcdeg
on=kafka,embedded
messages=1000000
rounds=7
runs=150
memory=2000000
for argument in "$@"; do
    case "$argument" in
        --only=*) only=${argument#*=} ;;
        --on=*) on=${argument#*=} ;;
        --messages=*) messages=${argument#*=} ;;
        --rounds=*) rounds=${argument#*=} ;;
        --runs=*) runs=${argument#*=} ;;
        --memory=*) memory=${argument#*=} ;;
        --quick)
            messages=20000
            rounds=2
            runs=10
            memory=50000
            ;;
        --help | -h)
            usage
            exit
            ;;
        *)
            usage >&2
            fail "unknown argument '$argument'."
            ;;
    esac
done

cd "$ROOT"
need_extension
KAFKA="$ROOT/tests/support/kafka.sh"
trap '"$KAFKA" stop-owned --owner=$$; "$KAFKA" sweep' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Building the plain Rust loop"
export_release_flags
nice cargo build --release --locked --example bench_limit --example bench_gateway
limit="${CARGO_TARGET_DIR:-$ROOT/target}/release/examples/bench_limit"

rdkafka="$(tests/bench/rdkafka.sh)" || rdkafka=""

kafka=""
if [[ ",$on," == *,kafka,* ]]; then
    say "Starting Apache Kafka"
    kafka="$("$KAFKA" start --name="bench-$$" --owner=$$)"
    "$KAFKA" create bench_user_1 1 --address="$kafka" >/dev/null
    "$KAFKA" create benchread_user_1 1 --address="$kafka" >/dev/null
    "$KAFKA" create benchmemory_user_1 1 --address="$kafka" >/dev/null
fi

embedded=""
if [[ ",$on," == *,embedded,* ]]; then
    say "Starting the embedded broker in a process of its own"
    # It runs until its input ends: with this script.
    coproc BROKER { exec "$PHP" -n -d "extension=$REALTIME_EXTENSION" tests/bench/client/embedded.php bench_user_1:1 benchread_user_1:40; }
    read -r -t 10 embedded <&"${BROKER[0]}" || fail "the embedded broker did not start."
fi

if [ -n "${only//g/}" ]; then
    "$PHP" tests/bench/run.php --extension="$REALTIME_EXTENSION" --rdkafka="$rdkafka" --limit="$limit" --kafka="$kafka" \
    --embedded="$embedded" --only="${only//g/}" --messages="$messages" --rounds="$rounds" --runs="$runs" --memory="$memory"
fi

if [[ "$only" == *g* ]]; then
    say "The gateway: fan-out, idle connections, a slow client; from Kafka to the socket"
    # Each of the 5000 idle connections needs two descriptors, more than the usual limit of 1024.
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || note "ulimit -n could not be raised"
    gateway="${CARGO_TARGET_DIR:-$ROOT/target}/release/examples/bench_gateway"
    "$gateway"
    [ -z "$kafka" ] || "$gateway" kafka "$kafka"
fi
