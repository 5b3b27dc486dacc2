<?php

/**
 * IDE stub of the native Admin class, and its stand-in where the extension is not loaded.
 */

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
 * Looks at a Kafka cluster and changes its topics. It belongs to no consumer group and commits nothing anywhere.
 *
 *     $admin = new Admin(['brokers' => 'localhost:9092']);
 *     foreach ($admin->topics('dlq.**') as $topic => $about) {
 *         $admin->read($topic, function (Message $letter): void {
 *             echo $letter->getTopic(), ' ', $letter->getOffset(), ' ', $letter->getPayload(), "\n";
 *         });
 *     }
 *
 * It connects when it is first used. A call waits for Kafka for at most 10 seconds, while PHP's signal handlers run,
 * then throws ConnectionException. The embedded broker has no admin API: topics(), cluster(), offsets(),
 * offsetsOfTopics(), groupOffsets(), offsetsOfGroups() and read() work there, createTopic() in the process that started
 * it, the others throw ConfigurationException.
 */
final class Admin
{
    /**
     * Reads the configuration; connects nothing yet.
     *
     * @param array<string, mixed> $config as that of Broker; what is left out comes from Realtime::configure(), the INI
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
     * The configuration it was made with, as it counts: constructor, Realtime::configure(), INI settings, environment,
     * defaults. Nothing secret is in it, and nothing is connected.
     *
     * @return array{broker: string, brokers: string, consumer_group: string, topic_prefix: string,
     *     topic_strategy: string, topic_mapping: list<array{pattern: string, topic: string, partitions: ?int,
     *     replication: ?int, retention_ms: ?int}>, default_topic: string, default_partitions: ?int,
     *     auto_create_topics: bool, dlq: bool, dlq_prefix: string} brokers: with commas between them; topic_mapping:
     *     empty unless topic_strategy is `grouped`; null: as the brokers are set up
     */
    public function configuration(): array
    {
        throw Support\ExtensionMissing::exception('Admin::configuration()');
    }

    /**
     * The topics of the cluster by name, in order.
     *
     *     ['orders' => ['partitions' => [['partition' => 0, 'leader' => 1, 'replicas' => [1, 2], 'isr' => [1, 2]]]]]
     *
     * @param string|null $pattern a name, or a pattern as for Broker::subscribeTopic(): `dlq.*` (one segment), `dlq.**`
     *     (any); Kafka's own topics (`__…`) are listed only by their full name
     *
     * @return array<string, array{partitions: list<array{partition: int, leader: int, replicas: list<int>,
     *     isr: list<int>}>}> leader: -1 where there is none; a name of digits only is an int, as PHP's array keys are
     *
     * @throws InvalidChannelException neither a name nor a pattern
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function topics(?string $pattern = null): array
    {
        throw Support\ExtensionMissing::exception('Admin::topics()');
    }

    /**
     * The cluster itself: its id, the broker that changes topics, and every broker as it names itself to clients.
     *
     *     ['id' => 'x7…', 'controller' => 1, 'operations' => ['create', 'describe'],
     *         'brokers' => [['id' => 1, 'host' => 'kafka1', 'port' => 9092, 'rack' => null]]]
     *
     * @return array{id: ?string, controller: int,
     *     brokers: list<array{id: int, host: string, port: int, rack: ?string}>,
     *     operations: list<string>|null} controller: -1 where there is none; operations: what whoever asks may do to
     *     the cluster, null where it does not say
     *
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function cluster(): array
    {
        throw Support\ExtensionMissing::exception('Admin::cluster()');
    }

    /**
     * Every consumer group that whoever asks may see, in order of the names.
     *
     * @return list<array{group: string, state: string, type: string, protocol: string}> state: `Stable`, `Empty` (no
     *     members), `PreparingRebalance`, `CompletingRebalance`, `Dead` or `Unknown`; type: `Classic`, `Consumer` (the
     *     newer protocol) or `Unknown`; protocol: `consumer`, or empty where offsets were committed without joining
     *
     * @throws ConfigurationException an embedded broker
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function groups(): array
    {
        throw Support\ExtensionMissing::exception('Admin::groups()');
    }

    /**
     * The state and the members of a consumer group. One that does not exist is `Dead`, without members.
     *
     * @return array{group: string, state: string, type: string, assignor: string,
     *     coordinator: array{id: int, host: string, port: int}|null,
     *     members: list<array{id: string, instance: ?string, client: string, host: string,
     *         assignment: array<string, list<int>>}>,
     *     operations: list<string>|null} state and type as in groups(); assignment: partitions by topic; operations:
     *     what whoever asks may do with it (`read`, `delete`, `describe`), null where Kafka does not say
     *
     * @throws ConfigurationException an empty name, a group of something else than consumers, or an embedded broker
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function group(string $group): array
    {
        throw Support\ExtensionMissing::exception('Admin::group()');
    }

    /**
     * The same for several groups, asked for at once.
     *
     * @param list<string> $groups a few hundred at most: all of them share the 10 seconds
     *
     * @return array<string, array{group: string, state: string, type: string, assignor: string,
     *     coordinator: array{id: int, host: string, port: int}|null,
     *     members: list<array{id: string, instance: ?string, client: string, host: string,
     *         assignment: array<string, list<int>>}>,
     *     operations: list<string>|null, error: ?string}> by name, in order; error: why nothing is known of this one
     *
     * @throws ConfigurationException an empty name, or an embedded broker
     * @throws ConnectionException Kafka does not answer
     */
    public function describeGroups(array $groups): array
    {
        throw Support\ExtensionMissing::exception('Admin::describeGroups()');
    }

    /**
     * What a consumer group has committed: the offset of the next record that it wants.
     *
     *     ['orders' => [0 => 17, 2 => 4]]                                // partition 1 has no commit
     *
     * @return array<string, array<int, int>> offset by topic and partition, in order; empty where it has committed
     *     nothing, or does not exist
     *
     * @throws ConfigurationException an empty name
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function groupOffsets(string $group): array
    {
        throw Support\ExtensionMissing::exception('Admin::groupOffsets()');
    }

    /**
     * The same for several groups, up to 32 of them asked for at once.
     *
     * @param list<string> $groups a few hundred at most: all of them share the 10 seconds
     *
     * @return array<string, array{error: ?string, offsets: array<string, array<int, int>>}> by name, in order; error:
     *     why nothing is known of this one
     *
     * @throws ConfigurationException an empty name
     * @throws ConnectionException Kafka does not answer
     */
    public function offsetsOfGroups(array $groups): array
    {
        throw Support\ExtensionMissing::exception('Admin::offsetsOfGroups()');
    }

    /**
     * Every setting of a topic as the brokers have it, defaults too.
     *
     *     ['cleanup.policy' => 'delete', 'retention.ms' => '604800000', …]
     *
     * @return array<string, ?string> by Kafka's name, in order; null for what Kafka keeps secret
     *
     * @throws UnknownTopicException there is none
     * @throws ConfigurationException an embedded broker
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function topicConfig(string $topic): array
    {
        throw Support\ExtensionMissing::exception('Admin::topicConfig()');
    }

    /**
     * What whoever asks may do with topics. Without access control in Kafka: everything.
     *
     *     ['orders' => ['read', 'write', 'describe'], 'secret' => []]    // secret may not even be seen
     *
     * @param list<string> $topics
     *
     * @return array<string, list<string>> of `read`, `write`, `create`, `delete`, `alter`, `describe`,
     *     `describe_configs`, `alter_configs`; topics that are not there are left out
     *
     * @throws InvalidChannelException no name of a topic
     * @throws ConfigurationException an embedded broker, or one older than version 2.3
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function operations(array $topics): array
    {
        throw Support\ExtensionMissing::exception('Admin::operations()');
    }

    /**
     * Creates a topic, and waits until it can be used.
     *
     *     $admin->createTopic('orders', 6, config: ['retention.ms' => 604_800_000]);
     *
     * @param int $partitions at least 1
     * @param int $replication copies of each partition; -1: as the brokers are set up
     * @param array<string, string|int|float|bool> $config the topic's own settings, by Kafka's names
     *
     * @return bool false: it exists already, and stays as it is
     *
     * @throws InvalidChannelException a name that Kafka does not take, or that differs from another by `.` and `_` only
     * @throws ConfigurationException Kafka refuses the settings, or it is another process's embedded broker
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function createTopic(string $topic, int $partitions = 1, int $replication = -1, array $config = []): bool
    {
        throw Support\ExtensionMissing::exception('Admin::createTopic()');
    }

    /**
     * Gives a topic more partitions, and waits until they can be used.
     *
     * Records with a key may go to another partition from then on: those of one key are in order again once the old
     * ones are consumed.
     *
     * @param int $total how many it has afterwards
     *
     * @throws UnknownTopicException there is none
     * @throws ConfigurationException it has as many or more, or an embedded broker
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function createPartitions(string $topic, int $total): void
    {
        throw Support\ExtensionMissing::exception('Admin::createPartitions()');
    }

    /**
     * Deletes a topic with all its records, and waits until it is gone.
     *
     * @throws UnknownTopicException there is none
     * @throws ConfigurationException the cluster does not allow it, or is an embedded broker
     * @throws ConnectionException Kafka does not answer, or refuses
     */
    public function deleteTopic(string $topic): void
    {
        throw Support\ExtensionMissing::exception('Admin::deleteTopic()');
    }

    /**
     * Where each partition begins and ends: the first offset that is still there, and the one after the last.
     *
     * Their difference is at most the number of records: transactions leave markers, compaction leaves gaps. While a
     * transaction is open the end is where it began, unless `isolation.level` is `read_uncommitted`.
     *
     * @return array<int, array{beginning: int, end: int}> by partition
     *
     * @throws UnknownTopicException there is none
     * @throws ConnectionException Kafka does not answer, or a partition has no leader
     */
    public function offsets(string $topic): array
    {
        throw Support\ExtensionMissing::exception('Admin::offsets()');
    }

    /**
     * The same for several topics, in three questions to Kafka.
     *
     * @param list<string> $topics
     *
     * @return array<string, array{error: ?string, partitions: array<int, array{beginning: int, end: int}>}> by name, in
     *     order; topics that are not there are left out; error: why partitions are missing, one without a leader say
     *
     * @throws InvalidChannelException no name of a topic
     * @throws ConnectionException Kafka does not answer
     */
    public function offsetsOfTopics(array $topics): array
    {
        throw Support\ExtensionMissing::exception('Admin::offsetsOfTopics()');
    }

    /**
     * The first offset of each partition whose record is not older than a time; its end where all are.
     *
     * @param int|DateTimeInterface $time Unix seconds, or a time with its milliseconds
     *
     * @return array<int, int> offset by partition
     *
     * @throws UnknownTopicException there is none
     * @throws ConfigurationException an embedded broker, which does not find records by time
     * @throws ConnectionException Kafka does not answer, or a partition has no leader
     */
    public function offsetsAt(string $topic, int|DateTimeInterface $time): array
    {
        throw Support\ExtensionMissing::exception('Admin::offsetsAt()');
    }

    /**
     * Hands every record of all partitions to the callback, one by one, up to where the topic ended when it was called.
     *
     * Each partition comes in order; the partitions mix. Messages are raw, as those of Broker::subscribeTopic().
     * Nothing is committed, no group sees it, and records that aborted transactions wrote are left out. What the
     * callback throws ends it. SIGTERM and SIGINT end the process as usual, unless PHP has handlers for them: those run
     * between records.
     *
     * @param callable(Message): mixed $callback false (and nothing else) ends the reading
     * @param array<int, int> $from offset by partition to begin with; the others begin where they begin
     *
     * @return int the number of records handed over
     *
     * @throws UnknownTopicException there is none, or it was deleted meanwhile
     * @throws ConfigurationException no such partition, an offset below 0, or called inside its own callback
     * @throws ConnectionException nothing came for 10 seconds, though there is more
     * @throws Throwable what the callback throws
     */
    public function read(string $topic, callable $callback, array $from = []): int
    {
        throw Support\ExtensionMissing::exception('Admin::read()');
    }

    /**
     * Deletes the records before these offsets; the others keep theirs.
     *
     *     $end = array_column($admin->offsets('dlq.orders'), 'end');
     *     $admin->deleteRecords('dlq.orders', $end);                    // all that are in it now
     *
     * All offsets are checked before anything is deleted.
     *
     * @param array<int, int> $before offset by partition; partitions left out stay as they are
     *
     * @throws UnknownTopicException there is none
     * @throws ConfigurationException no such partition, an offset behind its end, a topic that is compacted and does
     *     not delete, or an embedded broker
     * @throws ConnectionException Kafka does not answer: some of it may be gone
     */
    public function deleteRecords(string $topic, array $before): void
    {
        throw Support\ExtensionMissing::exception('Admin::deleteRecords()');
    }

    /**
     * Closes the connection; what is called afterwards throws ConfigurationException. In the callback of read() it
     * takes effect after the record in hand. Harmless when it is closed already.
     */
    public function close(): void
    {
        throw Support\ExtensionMissing::exception('Admin::close()');
    }
}
