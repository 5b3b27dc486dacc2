<?php

/**
 * Admin on the embedded broker and on Kafka: the cluster, many topics, and the offsets of a group.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Admin;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\InvalidChannelException;
use TypeError;

final class ClusterBrokerTest extends AdminTestCase
{
    public function testTheClusterAndItsBrokers(): void
    {
        $cluster = $this->admin->cluster();
        self::assertSame(['id', 'controller', 'brokers', 'operations'], array_keys($cluster));
        self::assertNotEmpty($cluster['id']);
        self::assertSame(['id', 'host', 'port', 'rack'], array_keys($cluster['brokers'][0]));
        $ids = array_column($cluster['brokers'], 'id');
        self::assertContains($cluster['controller'], self::isReal() ? $ids : [-1], 'the embedded broker has none');
        $ports = array_column($cluster['brokers'], 'port');
        self::assertContains((int) substr((string) strrchr(self::address(), ':'), 1), $ports);
        self::assertSame(self::isReal(), $cluster['operations'] !== null);
        $this->admin->close();
        self::thrown(ConfigurationException::class, fn () => $this->admin->cluster());
    }

    public function testTheStepsOfConnectingToABroker(): void
    {
        $found = $this->admin->probe(self::address());
        self::assertSame(['steps', 'failure', 'id', 'brokers', 'features'], array_keys($found));
        self::assertSame(['TCP', 'API'], array_keys($found['steps']));
        self::assertNull($found['failure']);
        self::assertSame($this->admin->cluster()['id'], $found['id']);
        self::assertSame(['id', 'host', 'port'], array_keys($found['brokers'][0]));
        self::assertContains('ApiVersion', $found['features']);
        foreach (['127.0.0.1:1' => ['TCP', '_TRANSPORT'], 'kafka-7.invalid:9092' => ['DNS', '_RESOLVE']] as $address => $why) {
            $found = $this->admin->probe($address, 3000);
            self::assertSame($why, [$found['failure']['step'], $found['failure']['error']], $found['failure']['text']);
            self::assertSame([], $found['steps']);
        }
        // A port that accepts connections and never responds.
        $silent = stream_socket_server('tcp://127.0.0.1:0');
        $start = microtime(true);
        $found = $this->admin->probe((string) stream_socket_get_name($silent, false), 1000);
        self::assertSame(['API', '_TIMED_OUT'], [$found['failure']['step'], $found['failure']['error']]);
        self::assertSame(['TCP'], array_keys($found['steps']));
        self::assertLessThan(3.0, microtime(true) - $start);
        self::thrown(ConfigurationException::class, fn () => $this->admin->probe('a:1', 50));
    }

    public function testManyTopicsInOneCall(): void
    {
        $one = $this->filled([2, 3], 'one');
        $two = $this->filled([1], 'two');
        $found = $this->admin->offsetsOfTopics([$two, $this->topic('missing'), $one, $two]);
        self::assertSame([
            $one => ['error' => null, 'partitions' => [
                ['beginning' => 0, 'end' => 2],
                ['beginning' => 0, 'end' => 3],
            ]],
            $two => ['error' => null, 'partitions' => [['beginning' => 0, 'end' => 1]]],
        ], $found);
        self::assertSame([], $this->admin->offsetsOfTopics([]));
        self::assertSame([], $this->admin->topics($this->topic('missing')), 'asking created nothing');
        self::thrown(InvalidChannelException::class, fn () => $this->admin->offsetsOfTopics(['a b']));
        self::thrown(TypeError::class, fn () => $this->admin->offsetsOfTopics([['a']]));
    }

    public function testCommittedOffsetsOfAGroup(): void
    {
        $topic = $this->filled([3, 0, 1]);
        self::assertSame([], $this->admin->groupOffsets($this->group));
        $broker = $this->broker();
        $broker->subscribeTopic($topic, static fn () => null);
        $broker->consume(200, 100, 4);
        $broker->close();
        $committed = [$topic => [0 => 3, 2 => 1]];
        self::assertSame($committed, array_map('array_filter', $this->admin->groupOffsets($this->group)));
        $several = $this->admin->offsetsOfGroups(["$this->group-none", $this->group]);
        self::assertSame([$this->group, "$this->group-none"], array_keys($several));
        self::assertSame([null, null], array_column($several, 'error'));
        self::assertSame($committed, array_map('array_filter', $several[$this->group]['offsets']));
        self::assertSame([], $several["$this->group-none"]['offsets']);
        foreach (['', "a\0b", str_repeat('x', 40_000)] as $name) {
            self::thrown(ConfigurationException::class, fn () => $this->admin->groupOffsets($name));
        }
    }

    public function testAGroupWhoseCoordinatorMovesIsQueriedAgain(): void
    {
        // In a process of its own: librdkafka crashes there if the client has no group.
        $result = $this->runPhp(<<<'PHP'
            $kafka = Toporia\Realtime\EmbeddedBroker::start();
            $kafka->createTopic('t', 2);
            $admin = new Toporia\Realtime\Admin(['brokers' => $kafka->address()]);
            $kafka->failNext('OffsetFetch', 'NOT_COORDINATOR', 2);
            echo json_encode($admin->groupOffsets('g'));
            $kafka->failNext('OffsetFetch', 'COORDINATOR_NOT_AVAILABLE', 2);
            echo json_encode($admin->offsetsOfGroups(['g', 'h']));
            $admin->close();
            PHP, ['timeout' => 30.0]);
        $none = '{"error":null,"offsets":[]}';
        self::assertSame('[]{"g":' . $none . ',"h":' . $none . '}', $result->assertExit()->stdout);
    }

    public function testUnsupportedCallsOfTheEmbeddedBrokerAreExplained(): void
    {
        $topic = $this->createTopic($this->topic());
        $asked = [
            fn () => $this->admin->groups(),
            fn () => $this->admin->group($this->group),
            fn () => $this->admin->describeGroups([$this->group]),
            fn () => $this->admin->topicConfig($topic),
            fn () => $this->admin->operations([$topic]),
            fn () => $this->admin->createPartitions($topic, 2),
        ];
        foreach ($asked as $ask) {
            if (self::isReal()) {
                self::assertTrue(is_array($ask() ?? []));
                continue;
            }
            $e = self::thrown(ConfigurationException::class, $ask);
            self::assertStringContainsString('embedded broker', $e->getMessage());
        }
    }
}
