<?php

/**
 * IDE stub of the native EmbeddedBroker class, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime;

use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\ExtensionMissingException;

/**
 * A Kafka for tests and first tries: librdkafka's mock cluster, in memory, in this process, over the real protocol.
 *
 *     $kafka = EmbeddedBroker::start();
 *     putenv('KAFKA_BROKERS=' . $kafka->address());
 *
 * It forgets everything when it stops, keeps the last 5 MB or 100,000 messages of a partition, and has no admin API:
 * topics appear on first use with 4 partitions unless createTopic() made them. Other processes can reach it.
 */
final class EmbeddedBroker
{
    /**
     * Made by start().
     */
    private function __construct()
    {
    }

    /**
     * Starts one that runs until stop() or until the process ends.
     *
     * @param int $port 0: any free one
     * @param string $host the address to listen on, which is also the one it advertises to clients
     *
     * @throws ConnectionException the port is taken, or the address is not ours
     * @throws ExtensionMissingException without the extension
     */
    public static function start(int $port = 0, string $host = '127.0.0.1'): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Where it listens, as KAFKA_BROKERS wants it: `127.0.0.1:41234`.
     */
    public function address(): string
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Creates a topic; one that exists stays as it is.
     *
     * @param string $topic its full name (that of a channel: prefix, `_`, channel)
     * @param int $partitions at least 1
     */
    public function createTopic(string $topic, int $partitions = 1): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Stops it; every message in it is gone. Harmless when it is stopped already.
     */
    public function stop(): void
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }
}
