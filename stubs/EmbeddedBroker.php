<?php

/**
 * IDE stub of the native EmbeddedBroker class, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\ExtensionMissingException;
use Toporia\Realtime\Exception\InvalidChannelException;

/**
 * A Kafka for tests and first tries: librdkafka's mock cluster, in memory, in this process, over the real protocol.
 *
 *     $kafka = EmbeddedBroker::start();
 *     putenv('KAFKA_BROKERS=' . $kafka->address());
 *
 * It forgets everything when it stops, keeps the last 5 MB or 100,000 messages of a partition, and has no admin API:
 * topics appear on first use with 4 partitions unless createTopic() made them. Other processes can reach it.
 * Transactions work, but what an aborted one wrote can be read all the same.
 *
 * It fails on purpose, so that an application's tests can show what happens then:
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
     * The one behind `brokers: embedded`, the same each time; started where it does not run yet.
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
     *
     * @throws InvalidChannelException a name that Kafka does not take
     * @throws ConfigurationException fewer than 1 partition
     * @throws ConnectionException it is stopped
     */
    public function createTopic(string $topic, int $partitions = 1): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * The next requests of a kind are answered with an error; several calls line up behind each other.
     *
     * @param string $request Kafka's name: Produce, Fetch, ListOffsets, Metadata, OffsetCommit, OffsetFetch,
     *     FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, ApiVersions, InitProducerId,
     *     AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn, OffsetForLeaderEpoch,
     *     ConsumerGroupHeartbeat; in any case
     * @param string $error Kafka's or librdkafka's name, such as NOT_LEADER_FOR_PARTITION, MSG_SIZE_TOO_LARGE,
     *     PRODUCER_FENCED; `_TRANSPORT` cuts the connection instead of answering; in any case
     * @param int $times from 1 to 100,000 requests
     *
     * @throws ConfigurationException an unknown name (the nearest known one is named), or a number out of its range
     * @throws ConnectionException it is stopped
     */
    public function failNext(string $request, string $error, int $times = 1): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Whoever asks for this topic is told an error, until null ends it: TOPIC_AUTHORIZATION_FAILED, say.
     *
     * Clients ask when they first use a topic, and every few seconds from then on. The topic is made where it does not
     * exist.
     *
     * @param string|null $error as for failNext(); null: the topic is well again
     *
     * @throws ConfigurationException an unknown name
     * @throws InvalidChannelException a name that Kafka does not take
     * @throws ConnectionException it is stopped
     */
    public function failTopic(string $topic, ?string $error): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Every answer waits for so long; 0 ends it. It takes effect at once, for what is on its way too.
     *
     * @param int $ms milliseconds, at most 600,000
     *
     * @throws ConfigurationException out of range
     * @throws ConnectionException it is stopped
     */
    public function setLatency(int $ms): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Cuts every connection and takes no more, until up(). What is in the topics stays.
     *
     * @throws ConnectionException it is stopped
     */
    public function down(): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Takes connections again, at the same address. Clients come back by themselves, within about 2 seconds.
     *
     * @throws ConnectionException it is stopped
     */
    public function up(): static
    {
        throw Support\ExtensionMissing::exception('The embedded broker');
    }

    /**
     * Ends every fault: nothing waits to fail, every topic is well, no latency, and it is up.
     *
     * @throws ConnectionException it is stopped
     */
    public function clearFaults(): static
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
