<?php

/**
 * What the dead-letter commands ask of Kafka.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;

/**
 * Implemented on the native Admin and Broker by AdminCluster; in tests by a list in memory.
 *
 * Every method throws a RealtimeException when Kafka cannot be reached or refuses.
 */
interface Cluster
{
    /**
     * The topics that fit a pattern (`*` one segment, `**` any), or the one of that name.
     *
     * @return array<string, int> number of partitions by topic
     *
     * @throws RealtimeException
     */
    public function topics(string $pattern): array;

    /**
     * The offsets of the first record and of the one that will come next, by partition.
     *
     * @return array<int, array{beginning: int, end: int}>
     *
     * @throws RealtimeException
     */
    public function offsets(string $topic): array;

    /**
     * Hands over every record up to the end as of now, in order within each partition. Commits nothing.
     *
     * @param callable(Record): (void|false) $callback false ends it
     * @param array<int, int> $from where to begin by partition; partitions not named: at their beginning
     *
     * @throws RealtimeException
     */
    public function read(string $topic, callable $callback, array $from = []): void;

    /**
     * Creates a compacted topic with one partition; one that exists stays as it is.
     *
     * @throws RealtimeException
     */
    public function createCompacted(string $topic): void;

    /**
     * Deletes what lies before an offset, by partition.
     *
     * @param array<int, int> $before
     *
     * @throws RealtimeException
     */
    public function deleteRecords(string $topic, array $before): void;

    /**
     * Queues a record; flush() says whether it arrived.
     *
     * @param array<string, string|null|list<string|null>> $headers
     * @param int|null $partition null: as the key says
     *
     * @return string an id for flush()
     *
     * @throws RealtimeException it cannot be sent at all
     */
    public function send(
        string $topic,
        ?string $value,
        ?string $key,
        array $headers = [],
        ?int $partition = null
    ): string;

    /**
     * Waits until what was sent is acknowledged.
     *
     * @return array<string, string> why not, by id; empty: everything is in Kafka
     */
    public function flush(): array;

    /**
     * Closes the connections.
     */
    public function close(): void;
}
