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
 * Accesses a configured Kafka through the native Admin and Broker. Sends with acks=all and without a spool, regardless
 * of the configuration: a letter counts as replayed once Kafka has acknowledged it, and a record that Kafka did not
 * accept must not be sent later by a spool, because its letter can still be replayed.
 */
final class AdminCluster implements Cluster
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

    public function configuration(): array
    {
        return $this->admin->configuration();
    }

    public function topics(string $pattern): array
    {
        return array_map(static fn (array $topic): int => count($topic['partitions']), $this->admin->topics($pattern));
    }

    public function offsets(string $topic): array
    {
        return $this->admin->offsets($topic);
    }

    public function read(string $topic, callable $callback, array $from = []): void
    {
        $this->admin->read($topic, static fn (Message $message): mixed => $callback(Record::of($message)), $from);
    }

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

    public function deleteRecords(string $topic, array $before): void
    {
        $this->admin->deleteRecords($topic, $before);
    }

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

    public function flush(): array
    {
        try {
            Realtime::flush(self::FLUSH_MS);
        } catch (DeliveryException $e) {
            return array_column($e->getFailed(), 'reason', 'id');
        }

        return [];
    }

    public function close(): void
    {
        $this->broker?->close();
        $this->admin->close();
    }

    /**
     * True for an embedded broker of any process: only an embedded broker cannot look up offsets by time.
     */
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
