<?php

/**
 * Admin's topics and offsets, on both brokers.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Admin;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\UnknownTopicException;

final class TopicsBrokerTest extends AdminTestCase
{
    public function testTopicsByPattern(): void
    {
        $one = $this->createTopic($this->topic('b'), 2);
        $two = $this->createTopic($this->topic('a.deep'));
        $topics = $this->admin->topics("$this->prefix.**");
        self::assertSame([$two, $one], array_keys($topics));
        self::assertSame([0, 1], array_column($topics[$one]['partitions'], 'partition'));
        $partition = $topics[$one]['partitions'][0];
        self::assertSame(['partition', 'leader', 'replicas', 'isr'], array_keys($partition));
        self::assertSame([$partition['leader']], $partition['replicas']);
        self::assertSame([$partition['leader']], $partition['isr']);
        self::assertSame([$one], array_keys($this->admin->topics("$this->prefix.raw.*")));
        self::assertSame([$two], array_keys($this->admin->topics($two)));
        self::assertSame([], $this->admin->topics($this->topic('missing')));
        self::assertArrayHasKey($one, $this->admin->topics());
        self::assertSame([], preg_grep('/^__/', array_map('strval', array_keys($this->admin->topics()))));
        self::thrown(InvalidChannelException::class, fn () => $this->admin->topics('a b'));
    }

    public function testOffsets(): void
    {
        $topic = $this->filled([3, 0]);
        $expected = [['beginning' => 0, 'end' => 3], ['beginning' => 0, 'end' => 0]];
        self::assertSame($expected, $this->admin->offsets($topic));
        $e = self::thrown(UnknownTopicException::class, fn () => $this->admin->offsets($this->topic('missing')));
        self::assertStringContainsString('createTopic()', $e->getMessage());
        self::assertSame([], $this->admin->topics($this->topic('missing')), 'asking created nothing');
    }

    public function testCreateTopic(): void
    {
        $topic = $this->topic('created');
        self::assertTrue($this->admin->createTopic($topic, 3));
        self::assertFalse($this->admin->createTopic($topic, 3));
        self::assertSame([0, 1, 2], array_keys($this->admin->offsets($topic)));
        self::thrown(InvalidChannelException::class, fn () => $this->admin->createTopic('a b'));
        self::thrown(ConfigurationException::class, fn () => $this->admin->createTopic($topic, 0));
        self::thrown(ConfigurationException::class, fn () => $this->admin->createTopic($topic, 1, 0));
    }
}
