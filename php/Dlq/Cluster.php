<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

/**
 * The Kafka operations used by the dead-letter commands, through the native Admin and Broker of a configured broker.
 * Tests replace it by a list in memory.
 *
 * Every method throws a RealtimeException if Kafka cannot be reached or rejects the request.
 */
class Cluster
{
    private const FLUSH_MS = 10000;

    private Admin $admin;
    private ?Broker $broker = null;

    /**
     * Does not connect yet.
     *
     * @param string $name the broker's name in the configuration
     */
    public function __construct(private string $name)
    {
        $this->admin = new Admin(['broker' => $name]);
    }

    /**
     * The effective configuration, as returned by Admin::configuration().
     *
     * @return array<string, mixed>
     */
    public function configuration(): array
    {
        return $this->admin->configuration();
    }

    /**
     * The topics matching a name or a pattern (`*` one segment, `**` any number).
     *
     * @return array<string, int> number of partitions by topic
     *
     * @throws RealtimeException
     */
    public function topics(string $pattern): array
    {
        return array_map(static fn (array $topic): int => count($topic['partitions']), $this->admin->topics($pattern));
    }

    /**
     * The first offset and the end offset of each partition.
     *
     * @return array<int, array{beginning: int, end: int}>
     *
     * @throws RealtimeException
     */
    public function offsets(string $topic): array
    {
        return $this->admin->offsets($topic);
    }

    /**
     * Reads all records up to the current end, in order within each partition. Commits nothing.
     *
     * @param callable(Record): (void|false) $callback return false to stop
     * @param array<int, int> $from start offset by partition; other partitions start at their beginning
     *
     * @throws RealtimeException
     */
    public function read(string $topic, callable $callback, array $from = []): void
    {
        $this->admin->read($topic, static fn (Message $message): mixed => $callback(Record::of($message)), $from);
    }

    /**
     * Creates a compacted topic with one partition, unless it exists.
     *
     * @throws RealtimeException
     */
    public function createCompacted(string $topic): void
    {
        // Check first: a user who may write to an existing topic need not be allowed to create one.
        if ($this->topics($topic) !== []) {
            return;
        }
        try {
            $this->admin->createTopic($topic, 1, -1, ['cleanup.policy' => 'compact']);
        } catch (ConfigurationException $e) {
            // The embedded broker creates topics when something is sent to them.
            if (!$this->isEmbedded($topic)) {
                throw $e;
            }
        }
    }

    /**
     * Deletes the records before an offset, by partition.
     *
     * @param array<int, int> $before
     *
     * @throws RealtimeException
     */
    public function deleteRecords(string $topic, array $before): void
    {
        $this->admin->deleteRecords($topic, $before);
    }

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
    ): string {
        $this->broker ??= new Broker(['broker' => $this->name, 'acks' => 'all', 'spool' => false]);
        try {
            return $this->broker->send($topic, $value, $key, $headers, $partition);
        } catch (QueueFullException) {
            // A command can wait. The caller's flush() reports what was not delivered.
            usleep(200_000);

            return $this->broker->send($topic, $value, $key, $headers, $partition);
        }
    }

    /**
     * Waits until all queued records are acknowledged.
     *
     * @return array<string, string> reason by record id, for records that were not delivered
     */
    public function flush(): array
    {
        try {
            Realtime::flush(self::FLUSH_MS);
        } catch (DeliveryException $e) {
            return array_column($e->getFailed(), 'reason', 'id');
        }

        return [];
    }

    /** Closes the connections. */
    public function close(): void
    {
        $this->broker?->close();
        $this->admin->close();
    }

    /** True for an embedded broker of any process: only an embedded broker cannot look up offsets by time. */
    private function isEmbedded(string $topic): bool
    {
        try {
            $this->admin->offsetsAt($topic, 0);
        } catch (ConfigurationException) {
            return true;
        } catch (RealtimeException) {
            // For example an unknown topic: a real Kafka responded.
        }

        return false;
    }
}
