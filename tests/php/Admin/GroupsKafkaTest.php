<?php

/**
 * Admin calls that need Apache Kafka: groups and their members, topic configuration, permitted operations, more
 * partitions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Admin;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\UnknownTopicException;

final class GroupsKafkaTest extends AdminTestCase
{
    public function testAGroupWithAMemberAndWithoutOne(): void
    {
        $topic = $this->filled([1, 1]);
        $broker = $this->broker(['group_instance_id' => 'host-7']);
        $seen = [];
        $broker->subscribeTopic($topic, function () use (&$seen): void {
            $seen = $this->admin->group($this->group);
        });
        $broker->consume(200, 100, 2);
        self::assertSame([$this->group, 'Stable', 'Classic'], [$seen['group'], $seen['state'], $seen['type']]);
        self::assertSame('cooperative-sticky', $seen['assignor']);
        self::assertSame((int) substr((string) strrchr(self::address(), ':'), 1), $seen['coordinator']['port']);
        self::assertCount(1, $seen['members']);
        [$member] = $seen['members'];
        self::assertSame('host-7', $member['instance']);
        self::assertSame([$topic => [0, 1]], $member['assignment']);
        self::assertSame('127.0.0.1', $member['host']);
        self::assertContains('read', $seen['operations']);
        $broker->close();
        $listed = array_column($this->admin->groups(), null, 'group')[$this->group];
        self::assertSame('Classic', $listed['type']);
        self::assertSame('consumer', $listed['protocol']);
    }

    public function testAGroupOfTheNewerProtocol(): void
    {
        $topic = $this->filled([1]);
        $broker = $this->broker(['consumer_config' => ['group.protocol' => 'consumer']]);
        $seen = [];
        $broker->subscribeTopic($topic, function () use (&$seen): void {
            $seen = $this->admin->group($this->group);
        });
        $broker->consume(200, 100, 1);
        $broker->close();
        self::assertSame('Consumer', $seen['type']);
        self::assertSame([$topic => [0]], $seen['members'][0]['assignment']);
    }

    public function testAGroupThatDoesNotExistIsDead(): void
    {
        $group = $this->admin->group("$this->group-none");
        self::assertSame(['Dead', []], [$group['state'], $group['members']]);
        $several = $this->admin->describeGroups(["$this->group-b", "$this->group-a"]);
        self::assertSame(["$this->group-a", "$this->group-b"], array_keys($several));
        self::assertSame([null, null], array_column($several, 'error'));
        self::thrown(ConfigurationException::class, fn () => $this->admin->describeGroups(['']));
    }

    public function testTheSettingsOfATopic(): void
    {
        $topic = $this->topic();
        $this->admin->createTopic($topic, 1, 1, ['retention.ms' => 7_200_000]);
        $settings = $this->admin->topicConfig($topic);
        self::assertSame(['7200000', 'delete'], [$settings['retention.ms'], $settings['cleanup.policy']]);
        self::thrown(UnknownTopicException::class, fn () => $this->admin->topicConfig($this->topic('missing')));
    }

    public function testPermittedOperations(): void
    {
        $topic = $this->createTopic($this->topic());
        $allowed = $this->admin->operations([$topic, $this->topic('missing')]);
        self::assertSame([$topic], array_keys($allowed), 'what is not there is left out');
        self::assertSame([], array_diff(['read', 'write', 'describe', 'delete'], $allowed[$topic]));
    }

    public function testMorePartitions(): void
    {
        $topic = $this->filled([2]);
        $this->admin->createPartitions($topic, 3);
        self::assertSame([0, 1, 2], array_keys($this->admin->offsets($topic)));
        $e = self::thrown(ConfigurationException::class, fn () => $this->admin->createPartitions($topic, 3));
        self::assertStringContainsString('it has 3', $e->getMessage());
        $missing = fn () => $this->admin->createPartitions($this->topic('missing'), 2);
        self::thrown(UnknownTopicException::class, $missing);
        self::assertSame([], $this->admin->topics($this->topic('missing')));
    }
}
