<?php

declare(strict_types=1);

namespace Toporia\Realtime;

use DateTimeInterface;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\ExtensionMissingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\UnknownTopicException;

/**
 * Reads the state of a Kafka cluster and changes its topics. It joins no consumer group and commits no offsets.
 *
 *     $admin = new Admin(['brokers' => 'localhost:9092']);
 *     foreach ($admin->topics('dlq.**') as $topic => $about) {
 *         $admin->read($topic, function (Message $letter): void {
 *             echo $letter->getTopic(), ' ', $letter->getOffset(), ' ', $letter->getPayload(), "\n";
 *         });
 *     }
 *
 * It connects on first use. A call waits at most 10 seconds for Kafka, while PHP's signal handlers run, then throws
 * ConnectionException. The embedded broker has no admin API: topics(), cluster(), offsets(), offsetsOfTopics(),
 * groupOffsets(), offsetsOfGroups(), probe() and read() work, createTopic() works in the process that started it, all
 * other methods throw ConfigurationException.
 */
final class Admin
{
    /**
     * Reads the configuration; does not connect.
     *
     * @param array<string, mixed> $config as for Broker; missing settings come from Realtime::configure(), the INI
     *     settings and the environment
     *
     * @throws ConfigurationException an unknown key or a wrong value
     * @throws ExtensionMissingException without the extension
     */
    public function __construct(array $config = [])
    {
        throw Support\ExtensionMissing::exception('Admin');
    }

    /**
     * Returns the effective configuration: constructor, Realtime::configure(), INI settings, environment, defaults.
     * Contains no secrets and does not connect.
     *
     * @return array{broker: string, brokers: string, consumer_group: string, topic_prefix: string,
     *     topic_strategy: string, topic_mapping: list<array{pattern: string, topic: string, partitions: ?int,
     *     replication: ?int, retention_ms: ?int}>, default_topic: string, default_partitions: ?int,
     *     auto_create_topics: bool, dlq: bool, dlq_prefix: string, delivery: string, transactional_id: ?string,
     *     idempotence: bool, application: string, spool: ?string, spool_max_bytes: int, metrics: ?string,
     *     metrics_textfile: ?string, heartbeat_file: ?string, group_protocol: ?string,
     *     security: array{protocol: string, mechanism: ?string, username: ?string, ca: ?string, certificate: ?string,
     *     key: ?string, verify: bool, verify_name: bool}, warnings: list<string>, advice: list<string>}
     *     brokers: with commas between them; topic_mapping: empty unless topic_strategy is `grouped`; null: not set, or
     *     as the brokers are set up; security: of the consumers; advice: what is missing or has no effect, and what to
     *     do, for the doctor
     *
     * @throws ConfigurationException a wrong monitoring setting
     */
    public function configuration(): array
    {
        throw Support\ExtensionMissing::exception('Admin::configuration()');
    }

    /**
     * Returns the topics that a subscription to these channels reads. Does not connect.
     *
     * @param list<string> $channels names and patterns
     *
     * @return list<string> names; with one topic per channel, a pattern of channels is a regular expression of topics,
     *     which begins with `^`
     *
     * @throws InvalidChannelException a channel that is empty, unprintable or too long
     */
    public function topicsOf(array $channels): array
    {
        throw Support\ExtensionMissing::exception('Admin::topicsOf()');
    }

    /**
     * Connects to one broker with a client of its own and returns the steps that passed and the one that failed.
     *
     *     ['steps' => ['TCP' => 1, 'TLS' => 6, 'API' => 2, 'SASL' => 4], 'failure' => null, 'id' => 'x7…', …]
     *     ['steps' => ['TCP' => 1], 'failure' => ['step' => 'TLS', 'error' => '_SSL', 'text' => '…'], …]
     *
     * @param string $address `host:port` of any broker; the other settings are those of this object
     * @param int $timeoutMs for each step, at least 100
     *
     * @return array{steps: array<string, int>, failure: array{step: string, error: string, text: string}|null,
     *     id: ?string, brokers: list<array{id: int, host: string, port: int}>, features: list<string>} steps: `TCP`,
     *     `TLS`, `API`, `SASL` with their duration in ms; failure: of `DNS` or one of these, with librdkafka's name and
     *     text of the error; id, brokers: of the cluster, with advertised addresses; features: librdkafka's names of
     *     what the broker supports
     *
     * @throws ConfigurationException properties that librdkafka rejects
     */
    public function probe(string $address, int $timeoutMs = 5000): array
    {
        throw Support\ExtensionMissing::exception('Admin::probe()');
    }

    /**
     * Returns the topics of the cluster, sorted by name.
     *
     *     ['orders' => ['partitions' => [['partition' => 0, 'leader' => 1, 'replicas' => [1, 2], 'isr' => [1, 2]]]]]
     *
     * @param string|null $pattern a name, or a pattern as for Broker::subscribeTopic(): `dlq.*` (one segment), `dlq.**`
     *     (any); Kafka's own topics (`__…`) are listed only by their full name
     *
     * @return array<string, array{partitions: list<array{partition: int, leader: int, replicas: list<int>,
     *     isr: list<int>}>}> leader: -1 where there is none; a name of digits only is an int, as PHP's array keys are
     *
     * @throws InvalidChannelException neither a valid name nor a valid pattern
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function topics(?string $pattern = null): array
    {
        throw Support\ExtensionMissing::exception('Admin::topics()');
    }

    /**
     * Returns the cluster id, the controller, and all brokers with their advertised addresses.
     *
     *     ['id' => 'x7…', 'controller' => 1, 'operations' => ['create', 'describe'],
     *         'brokers' => [['id' => 1, 'host' => 'kafka1', 'port' => 9092, 'rack' => null]]]
     *
     * @return array{id: ?string, controller: int,
     *     brokers: list<array{id: int, host: string, port: int, rack: ?string}>,
     *     operations: list<string>|null} controller: -1 if there is none; operations: allowed operations on
     *     the cluster, null if Kafka does not report them
     *
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function cluster(): array
    {
        throw Support\ExtensionMissing::exception('Admin::cluster()');
    }

    /**
     * Returns all consumer groups visible to this user, sorted by name.
     *
     * @return list<array{group: string, state: string, type: string, protocol: string}> state: `Stable`, `Empty` (no
     *     members), `PreparingRebalance`, `CompletingRebalance`, `Dead` or `Unknown`; type: `Classic`, `Consumer` (the
     *     newer protocol) or `Unknown`; protocol: `consumer`, or empty if offsets were committed without joining
     *
     * @throws ConfigurationException an embedded broker
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function groups(): array
    {
        throw Support\ExtensionMissing::exception('Admin::groups()');
    }

    /**
     * Returns the state and the members of a consumer group. A group that does not exist is `Dead`, without members.
     *
     * @return array{group: string, state: string, type: string, assignor: string,
     *     coordinator: array{id: int, host: string, port: int}|null,
     *     members: list<array{id: string, instance: ?string, client: string, host: string,
     *         assignment: array<string, list<int>>}>,
     *     operations: list<string>|null} state and type as in groups(); assignment: partitions by topic; operations:
     *     allowed operations (`read`, `delete`, `describe`), null if Kafka does not report them
     *
     * @throws ConfigurationException an empty name, a group of another type, or an embedded broker
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function group(string $group): array
    {
        throw Support\ExtensionMissing::exception('Admin::group()');
    }

    /**
     * Same as group() for several groups in one request.
     *
     * @param list<string> $groups a few hundred at most: all of them share the 10 seconds
     *
     * @return array<string, array{group: string, state: string, type: string, assignor: string,
     *     coordinator: array{id: int, host: string, port: int}|null,
     *     members: list<array{id: string, instance: ?string, client: string, host: string,
     *         assignment: array<string, list<int>>}>,
     *     operations: list<string>|null, error: ?string}> by name, in order; error: reason if the request for this group failed
     *
     * @throws ConfigurationException an empty name, or an embedded broker
     * @throws ConnectionException Kafka does not respond
     */
    public function describeGroups(array $groups): array
    {
        throw Support\ExtensionMissing::exception('Admin::describeGroups()');
    }

    /**
     * Returns the offsets that a consumer group has committed: in each partition the next record to consume.
     *
     *     ['orders' => [0 => 17, 2 => 4]]                                // partition 1 has no commit
     *
     * @return array<string, array<int, int>> offset by topic and partition, sorted; empty if it has committed
     *     nothing, or does not exist
     *
     * @throws ConfigurationException an empty name
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function groupOffsets(string $group): array
    {
        throw Support\ExtensionMissing::exception('Admin::groupOffsets()');
    }

    /**
     * Returns what the members of a consumer group subscribe to.
     *
     * @return array{members: array<string, list<string>>, fingerprints: list<string>} members: topics by member id, of
     *     the classic protocol; fingerprints: one for each list of channels with which workers of this package have
     *     committed; both empty without permission
     *
     * @throws ConfigurationException an empty name, or an embedded broker
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function subscriptions(string $group): array
    {
        throw Support\ExtensionMissing::exception('Admin::subscriptions()');
    }

    /**
     * Same as groupOffsets() for several groups, up to 32 per request.
     *
     * @param list<string> $groups a few hundred at most: all of them share the 10 seconds
     *
     * @return array<string, array{error: ?string, offsets: array<string, array<int, int>>}> by name, in order; error:
     *     why nothing is known of this one
     *
     * @throws ConfigurationException an empty name
     * @throws ConnectionException Kafka does not respond
     */
    public function offsetsOfGroups(array $groups): array
    {
        throw Support\ExtensionMissing::exception('Admin::offsetsOfGroups()');
    }

    /**
     * Returns all settings of a topic, including defaults.
     *
     *     ['cleanup.policy' => 'delete', 'retention.ms' => '604800000', …]
     *
     * @return array<string, ?string> by Kafka's name, sorted; null for values that Kafka does not disclose
     *
     * @throws UnknownTopicException the topic does not exist
     * @throws ConfigurationException an embedded broker
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function topicConfig(string $topic): array
    {
        throw Support\ExtensionMissing::exception('Admin::topicConfig()');
    }

    /**
     * Returns the operations this user may perform on topics. Without access control in Kafka: all.
     *
     *     ['orders' => ['read', 'write', 'describe'], 'secret' => []]    // secret is not visible
     *
     * @param list<string> $topics
     *
     * @return array<string, list<string>> of `read`, `write`, `create`, `delete`, `alter`, `describe`,
     *     `describe_configs`, `alter_configs`; missing topics are left out
     *
     * @throws InvalidChannelException invalid topic name
     * @throws ConfigurationException an embedded broker, or one older than version 2.3
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function operations(array $topics): array
    {
        throw Support\ExtensionMissing::exception('Admin::operations()');
    }

    /**
     * Creates a topic and waits until it is available.
     *
     *     $admin->createTopic('orders', 6, config: ['retention.ms' => 604_800_000]);
     *
     * @param int $partitions at least 1
     * @param int $replication replication factor; -1: the default of the brokers
     * @param array<string, string|int|float|bool> $config topic settings, by Kafka's names
     * @param bool $validateOnly true: nothing is created; Kafka checks the request and the permission
     *
     * @return bool false: it already exists and was not changed
     *
     * @throws InvalidChannelException an invalid topic name, or one that differs from an existing topic only in `.` and
     *        `_`
     * @throws ConfigurationException Kafka rejects the settings, or it is the embedded broker of another process
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function createTopic(
        string $topic,
        int $partitions = 1,
        int $replication = -1,
        array $config = [],
        bool $validateOnly = false
    ): bool {
        throw Support\ExtensionMissing::exception('Admin::createTopic()');
    }

    /**
     * Adds partitions to a topic and waits until they are available.
     *
     * Records with a key may go to a different partition afterwards: the order per key is only guaranteed once the old
     * records are consumed.
     *
     * @param int $total new number of partitions
     *
     * @throws UnknownTopicException the topic does not exist
     * @throws ConfigurationException it already has as many partitions or more, or an embedded broker
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function createPartitions(string $topic, int $total): void
    {
        throw Support\ExtensionMissing::exception('Admin::createPartitions()');
    }

    /**
     * Deletes a topic with all its records and waits until it is gone.
     *
     * @throws UnknownTopicException the topic does not exist
     * @throws ConfigurationException the cluster does not allow it, or an embedded broker
     * @throws ConnectionException Kafka does not respond, or rejects the request
     */
    public function deleteTopic(string $topic): void
    {
        throw Support\ExtensionMissing::exception('Admin::deleteTopic()');
    }

    /**
     * Returns the first available offset and the end offset (last offset + 1) of each partition.
     *
     * Their difference is at most the number of records: transactions write markers, compaction leaves gaps. While a
     * transaction is open, the end offset is its first record, unless `isolation.level` is `read_uncommitted`.
     *
     * @return array<int, array{beginning: int, end: int}> by partition
     *
     * @throws UnknownTopicException the topic does not exist
     * @throws ConnectionException Kafka does not respond, or a partition has no leader
     */
    public function offsets(string $topic): array
    {
        throw Support\ExtensionMissing::exception('Admin::offsets()');
    }

    /**
     * Same as offsets() for several topics, in three requests to Kafka.
     *
     * @param list<string> $topics
     *
     * @return array<string, array{error: ?string, partitions: array<int, array{beginning: int, end: int}>}> by name, in
     *     order; topics that are not there are left out; error: why partitions are missing, one without a leader say
     *
     * @throws InvalidChannelException invalid topic name
     * @throws ConnectionException Kafka does not respond
     */
    public function offsetsOfTopics(array $topics): array
    {
        throw Support\ExtensionMissing::exception('Admin::offsetsOfTopics()');
    }

    /**
     * Returns the offset of the first record at or after a time in each partition; the end offset if there is none.
     *
     * @param int|DateTimeInterface $time Unix seconds, or a time with milliseconds
     *
     * @return array<int, int> offset by partition
     *
     * @throws UnknownTopicException the topic does not exist
     * @throws ConfigurationException an embedded broker, which cannot search by time
     * @throws ConnectionException Kafka does not respond, or a partition has no leader
     */
    public function offsetsAt(string $topic, int|DateTimeInterface $time): array
    {
        throw Support\ExtensionMissing::exception('Admin::offsetsAt()');
    }

    /**
     * Passes every record of all partitions to the callback, one at a time, up to the end offsets at the time of the
     * call.
     *
     * Records arrive in order within a partition; partitions are interleaved. Messages are raw, as with
     * Broker::subscribeTopic(). No offset is committed, no consumer group is joined, and records of aborted
     * transactions are skipped. An exception in the callback ends the reading. SIGTERM and SIGINT end the process as
     * usual, unless PHP has handlers for them: those run between records.
     *
     * @param callable(Message): mixed $callback false (and no other value) ends the reading
     * @param array<int, int> $from start offset by partition; the other partitions are read from their beginning
     *
     * @return int number of records passed to the callback
     *
     * @throws UnknownTopicException the topic does not exist, or was deleted during the call
     * @throws ConfigurationException an unknown partition, a negative offset, or a call within its own callback
     * @throws ConnectionException no record within 10 seconds, although there are more
     * @throws Throwable exception of the callback
     */
    public function read(string $topic, callable $callback, array $from = []): int
    {
        throw Support\ExtensionMissing::exception('Admin::read()');
    }

    /**
     * Deletes all records before these offsets.
     *
     *     $end = array_column($admin->offsets('dlq.orders'), 'end');
     *     $admin->deleteRecords('dlq.orders', $end);                    // all current records
     *
     * All offsets are checked before any record is deleted.
     *
     * @param array<int, int> $before offset by partition; other partitions are not changed
     *
     * @throws UnknownTopicException the topic does not exist
     * @throws ConfigurationException no such partition, an offset behind its end, a topic that is compacted and does
     *     not delete, or an embedded broker
     * @throws ConnectionException Kafka does not respond: part of the records may be deleted
     */
    public function deleteRecords(string $topic, array $before): void
    {
        throw Support\ExtensionMissing::exception('Admin::deleteRecords()');
    }

    /**
     * Closes the connection; later calls throw ConfigurationException. In the callback of read() it takes effect after
     * the current record. Does nothing if it is already closed.
     */
    public function close(): void
    {
        throw Support\ExtensionMissing::exception('Admin::close()');
    }
}
