<?php

/**
 * A Kafka in memory for the dead-letter commands: topics, offsets, deletion, and deliveries that fail on demand.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use Toporia\Realtime\Dlq\Cluster;
use Toporia\Realtime\Dlq\Record;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Support\Pattern;

final class MemoryCluster extends Cluster
{
    /** @var array<string, array<int, list<Record>>> */
    public array $topics = [];
    /** @var array<string, array<int, int>> offsets before which everything is deleted */
    public array $deleted = [];
    /** @var list<string> topics that were created as compacted ones */
    public array $compacted = [];
    /** @var list<string> topics that were read, and from where */
    public array $reads = [];
    /** @var list<string> topics of other applications */
    public array $foreign = [];
    public string $strategy = 'grouped';
    public string $dlqPrefix = 'dlq';
    /** The topic whose records are never acknowledged. */
    public ?string $failing = null;
    /** The topic that refuses records immediately. */
    public ?string $refusing = null;
    public bool $canCreate = true;
    public int $flushes = 0;
    public bool $closed = false;
    /** @var array<string, array{string, int, Record}> sent, not yet flushed */
    private array $queued = [];
    private int $ids = 0;
    private bool $reading = false;

    public function __construct()
    {
        // No connection.
    }

    public function create(string $topic, int $partitions = 1): void
    {
        $this->topics[$topic] ??= array_fill(0, $partitions, []);
    }

    /**
     * Adds a record, like a producer.
     *
     * @param array<string, string|null> $headers
     */
    public function put(
        string $topic,
        ?string $value,
        ?string $key = null,
        array $headers = [],
        int $partition = 0,
        ?int $timestamp = null
    ): Record {
        $this->create($topic, $partition + 1);
        $offset = count($this->topics[$topic][$partition]);
        $record = new Record($topic, $partition, $offset, $key, $value, $headers, $timestamp ?? time());

        return $this->topics[$topic][$partition][] = $record;
    }

    /**
     * @param array<string, string|null> $headers over the usual ones; null: without that one
     */
    public function letter(string $of, ?string $value = '{"n":1}', array $headers = [], ?string $key = 'k'): Record
    {
        $this->create($of);
        $usual = [
            'x-original-topic' => $of, 'x-original-partition' => '0', 'x-original-offset' => '3',
            'x-original-timestamp' => '1763700000123', 'x-original-group' => 'app',
            'x-exception-class' => 'App\OrderException', 'x-exception-message' => 'no such order',
            'x-attempts' => '4', 'x-failed-at' => (string) time(), 'x-replays' => '0',
        ];
        $all = array_filter($headers + $usual, static fn (?string $value): bool => $value !== null);

        return $this->put("dlq.$of", $value, $key, $all);
    }

    /** @return list<Record> what is in a topic */
    public function all(string $topic): array
    {
        return array_merge(...$this->topics[$topic] ?? [[]]);
    }

    public function configuration(): array
    {
        $own = array_diff(array_map('strval', array_keys($this->topics)), $this->foreign);

        return [
            'topic_prefix' => 'app', 'topic_strategy' => $this->strategy, 'default_topic' => 'app', 'default_partitions' => null,
            'dlq_prefix' => $this->dlqPrefix, 'topic_mapping' => array_map(static fn (string $topic): array => [
                'pattern' => $topic, 'topic' => $topic, 'partitions' => null, 'replication' => null, 'retention_ms' => null,
            ], $this->strategy === 'grouped' ? array_values($own) : []),
        ];
    }

    public function topics(string $pattern): array
    {
        $this->mustNotBeReading();

        return array_map('count', array_filter(
            $this->topics,
            static fn (int|string $topic): bool => Pattern::matches($pattern, (string) $topic),
            ARRAY_FILTER_USE_KEY
        ));
    }

    public function offsets(string $topic): array
    {
        $this->mustNotBeReading();
        $offsets = [];
        foreach ($this->topics[$topic] ?? throw new UnknownTopicException($topic) as $partition => $records) {
            $beginning = $this->deleted[$topic][$partition] ?? 0;
            $offsets[$partition] = ['beginning' => $beginning, 'end' => count($records)];
        }

        return $offsets;
    }

    public function read(string $topic, callable $callback, array $from = []): void
    {
        $offsets = $this->offsets($topic);
        $this->reads[] = $topic . ($from === [] ? '' : ' ' . json_encode($from));
        $this->reading = true;
        try {
            foreach ($offsets as $partition => ['beginning' => $beginning, 'end' => $end]) {
                for ($offset = max($beginning, $from[$partition] ?? 0); $offset < $end; $offset++) {
                    if ($callback($this->topics[$topic][$partition][$offset]) === false) {
                        return;
                    }
                }
            }
        } finally {
            $this->reading = false;
        }
    }

    public function createCompacted(string $topic): void
    {
        $this->mustNotBeReading();
        if (!$this->canCreate) {
            throw new ConnectionException("Not allowed to create $topic.");
        }
        $this->create($topic);
        $this->compacted[] = $topic;
    }

    public function deleteRecords(string $topic, array $before): void
    {
        $this->mustNotBeReading();
        $this->deleted[$topic] = $before + ($this->deleted[$topic] ?? []);
    }

    public function send(
        string $topic,
        ?string $value,
        ?string $key,
        array $headers = [],
        ?int $partition = null
    ): string {
        if ($topic === $this->refusing) {
            throw new ConnectionException("$topic refuses.");
        }
        $id = 'sent-' . $this->ids++;
        $record = new Record($topic, $partition ?? 0, -1, $key, $value, $headers, time());
        $this->queued[$id] = [$topic, $partition ?? 0, $record];

        return $id;
    }

    public function flush(): array
    {
        $this->flushes++;
        $failed = [];
        foreach ($this->queued as $id => [$topic, $partition, $record]) {
            if ($topic === $this->failing) {
                $failed[$id] = 'timed out';
            } else {
                $this->put($topic, $record->value, $record->key, $record->headers, $partition);
            }
        }
        $this->queued = [];

        return $failed;
    }

    public function close(): void
    {
        $this->closed = true;
    }

    /** The callback of read() may only send and flush: the native reader has one consumer. */
    private function mustNotBeReading(): void
    {
        if ($this->reading) {
            throw new ConnectionException('Asked for something else while reading.');
        }
    }
}
