#!/bin/sh
# The compiler launcher of librdkafka's build in releases: the files that a message does not pass through are optimized for
# size. The source is the last argument.
for source; do :; done
case "${source##*/}" in
    # The path of a message: API, queues, buffers, batches, connections, checksums, compression.
    rdkafka.c | rdkafka_msg*.c | rdkafka_queue.c | rdkafka_op.c | rdkafka_event.c | rdkafka_header.c | rdkafka_topic.c) ;;
    rdkafka_partition.c | rdkafka_offset.c | rdkafka_fetcher.c | rdkafka_broker.c | rdkafka_transport.c | rdkafka_ssl.c) ;;
    rdkafka_buf.c | rdkafka_timer.c | rdkafka_interceptor.c | rdkafka_lz4.c | rdkafka_zstd.c | lz4.c | snappy.c | rdgz.c) ;;
    rdbuf.c | rdlist.c | rdavl.c | rdlog.c | rdvarint.c | rdcrc32.c | crc32c.c | rdxxhash.c | rdmurmur2.c | tinycthread*.c) ;;
    *.c) set -- "$@" -Os ;;
esac
exec "$@"
