<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;

/**
 * The Kafka operations used by the dead-letter commands. Implemented by AdminCluster on the native Admin and Broker; in
 * tests by a list in memory.
 *
 * Every method throws a RealtimeException if Kafka cannot be reached or rejects the request.
 */
interface Cluster
{
    /**
     * The effective configuration, as returned by Admin::configuration().
     *
     * @return array<string, mixed>
     */
    public function configuration(): array;

    /**
     * The topics matching a name or a pattern (`*` one segment, `**` any number).
     *
     * @return array<string, int> number of partitions by topic
     *
     * @throws RealtimeException
     */
    public function topics(string $pattern): array;

    /**
     * The first offset and the end offset of each partition.
     *
     * @return array<int, array{beginning: int, end: int}>
     *
     * @throws RealtimeException
     */
    public function offsets(string $topic): array;

    /**
     * Reads all records up to the current end, in order within each partition. Commits nothing.
     *
     * @param callable(Record): (void|false) $callback return false to stop
     * @param array<int, int> $from start offset by partition; other partitions start at their beginning
     *
     * @throws RealtimeException
     */
    public function read(string $topic, callable $callback, array $from = []): void;

    /**
     * Creates a compacted topic with one partition, unless it exists.
     *
     * @throws RealtimeException
     */
    public function createCompacted(string $topic): void;

    /**
     * Deletes the records before an offset, by partition.
     *
     * @param array<int, int> $before
     *
     * @throws RealtimeException
     */
    public function deleteRecords(string $topic, array $before): void;

    /**
     * Queues a record; flush() reports if it was delivered.
     *
     * @param array<string, string|null|list<string|null>> $headers
     * @param int|null $partition null: chosen by the key
     *
     * @return string id of the record, for flush()
     *
     * @throws RealtimeException the record cannot be sent
     */
    public function send(
        string $topic,
        ?string $value,
        ?string $key,
        array $headers = [],
        ?int $partition = null
    ): string;

    /**
     * Waits until all queued records are acknowledged.
     *
     * @return array<string, string> reason by record id, for records that were not delivered
     */
    public function flush(): array;

    /**
     * Closes the connections.
     */
    public function close(): void;
}
