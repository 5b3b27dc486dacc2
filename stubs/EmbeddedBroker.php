<?php

declare(strict_types=1);

namespace Toporia\Realtime;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\ExtensionMissingException;
use Toporia\Realtime\Exception\InvalidChannelException;

/**
 * A Kafka broker for tests and first steps: librdkafka's mock cluster, in memory, in this process, over the real
 * protocol.
 *
 *     $kafka = EmbeddedBroker::start();
 *     putenv('KAFKA_BROKERS=' . $kafka->address());
 *
 * All data is lost when it stops. It keeps the last 5 MB or 100,000 messages of a partition and has no admin API:
 * topics are created on first use with 4 partitions unless createTopic() created them. Other processes can connect to
 * it. Transactions work, but records of aborted transactions are visible to every consumer.
 *
 * It can simulate failures, so that tests can check how an application handles them:
 *
 *     $kafka->failNext('Produce', 'NOT_LEADER_FOR_PARTITION', 2);   // an error that is tried again
 *     $kafka->failNext('OffsetCommit', '_TRANSPORT');               // the connection is cut instead of an answer
 *     $kafka->down();                                               // unreachable, until up()
 *
 * Only the process that started it can call these methods: a forked child gets ConnectionException.
 */
final class EmbeddedBroker
{
    /**
     * Use start().
     */
    private function __construct()
    {
    }

    /**
     * Starts a broker that runs until stop() or until the process ends.
     *
     * @param int $port 0: any free port
     * @param string $host the address to listen on and to advertise to clients
     *
     * @throws ConnectionException the port is in use, or the address does not belong to this machine
     * @throws ExtensionMissingException without the extension
     */
    public static function start(int $port = 0, string $host = '127.0.0.1'): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Returns the broker used for `brokers: embedded`, the same instance on every call; starts it if necessary.
     *
     *     Realtime::configure(['brokers' => 'embedded']);
     *     EmbeddedBroker::shared()->failNext('Produce', 'REQUEST_TIMED_OUT');
     *
     * @throws ConnectionException it cannot be started
     * @throws ExtensionMissingException without the extension
     */
    public static function shared(): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Returns its address in the format of KAFKA_BROKERS: `127.0.0.1:41234`.
     */
    public function address(): string
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Creates a topic. An existing topic is not changed.
     *
     * @param string $topic full name (for a channel: prefix, `_`, channel)
     * @param int $partitions at least 1
     *
     * @throws InvalidChannelException the name is not a valid Kafka topic name
     * @throws ConfigurationException fewer than 1 partition
     * @throws ConnectionException the broker is stopped
     */
    public function createTopic(string $topic, int $partitions = 1): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Makes the next requests of a type fail with an error. Multiple calls are queued.
     *
     * @param string $request Kafka's name: Produce, Fetch, ListOffsets, Metadata, OffsetCommit, OffsetFetch,
     *     FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, ApiVersions, InitProducerId,
     *     AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn, OffsetForLeaderEpoch,
     *     ConsumerGroupHeartbeat; in any case
     * @param string $error Kafka's or librdkafka's name, such as NOT_LEADER_FOR_PARTITION, MSG_SIZE_TOO_LARGE,
     *     PRODUCER_FENCED; `_TRANSPORT` cuts the connection instead of answering; in any case
     * @param int $times from 1 to 100,000 requests
     *
     * @throws ConfigurationException an unknown name (the message suggests the most similar one) or a number out of
     *        range
     * @throws ConnectionException the broker is stopped
     */
    public function failNext(string $request, string $error, int $times = 1): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Returns an error for every metadata request of this topic, such as TOPIC_AUTHORIZATION_FAILED, until called with
     * null.
     *
     * Clients request metadata on first use of a topic and every few seconds after that. A topic that does not exist is
     * created.
     *
     * @param string|null $error as for failNext(); null: no error
     *
     * @throws ConfigurationException unknown name
     * @throws InvalidChannelException the name is not a valid Kafka topic name
     * @throws ConnectionException the broker is stopped
     */
    public function failTopic(string $topic, ?string $error): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Delays every response; 0 removes the delay. Takes effect immediately, also for pending requests.
     *
     * @param int $ms milliseconds, at most 600,000
     *
     * @throws ConfigurationException out of range
     * @throws ConnectionException the broker is stopped
     */
    public function setLatency(int $ms): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Closes all connections and accepts no new ones until up(). Topics keep their records.
     *
     * @throws ConnectionException the broker is stopped
     */
    public function down(): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Accepts connections again, at the same address. Clients reconnect automatically within about 2 seconds.
     *
     * @throws ConnectionException the broker is stopped
     */
    public function up(): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Removes all simulated failures: queued errors, topic errors, latency and down().
     *
     * @throws ConnectionException the broker is stopped
     */
    public function clearFaults(): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Stops the broker; all its messages are lost. Does nothing if it is already stopped.
     */
    public function stop(): void
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }
}
