<?php

/**
 * The settings that the doctor finds, and which topics belong to the application.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Diagnostics\Configuration;

final class TopicPlanUnitTest extends TestCase
{
    protected function tearDown(): void
    {
        putenv('REALTIME_ALLOWED_ORIGINS');
    }

    /** @param array<string, mixed> $settings */
    private static function plan(array $settings = []): TopicPlan
    {
        return new TopicPlan($settings + [
            'topic_strategy' => 'one-per-channel', 'topic_prefix' => 'realtime', 'topic_mapping' => [],
            'default_topic' => 'realtime', 'default_partitions' => null, 'dlq_prefix' => 'dlq',
        ]);
    }

    public function testTopicsOfChannels(): void
    {
        $existing = ['realtime_user_1', 'realtime_user_22', 'realtime_user_1_x', 'realtime_order_1', 'other_user_1', 'realtimeX'];
        $topics = self::plan();
        self::assertSame(['realtime_user_1', 'realtime_a_b'], $topics->consumed(['user.1', 'a.b'], $existing));
        $users = ['realtime_user_1', 'realtime_user_22', 'realtime_user_1_x'];
        self::assertSame($users, $topics->consumed(['user.**'], $existing));
        self::assertSame([...$users, 'realtime_order_1'], $topics->consumed([], $existing));
        $dots = self::plan(['topic_strategy' => 'one-per-channel-dots']);
        self::assertSame(['realtime_user.1'], $dots->consumed(['user.1'], []));
        $entry = ['partitions' => null, 'replication' => null, 'retention_ms' => null];
        $grouped = self::plan(['topic_strategy' => 'grouped', 'default_partitions' => 4, 'topic_mapping' => [
            ['pattern' => 'user.*', 'topic' => 'r.user', 'partitions' => 6, 'replication' => 3] + $entry,
            ['pattern' => 'order.**', 'topic' => 'r.order'] + $entry,
        ]]);
        self::assertSame(['r.user', 'r.order', 'realtime'], $grouped->consumed(['user.7', 'order.1.x', 'chat.1'], []));
        self::assertSame(['r.user', 'r.order', 'realtime'], $grouped->consumed(['**'], []));
        self::assertSame(['r.user'], $grouped->consumed(['user.*'], []));
        self::assertSame(['r.user', 'r.order', 'realtime'], $grouped->consumed([], ['r.user', 'realtime_x']));
    }

    public function testNamesOfBrokers(): void
    {
        self::assertSame(['a', 'b'], Configuration::brokers(['brokers' => ['a' => [], 'b' => ['topic_prefix' => 'pb']]]));
        self::assertSame(['kafka'], Configuration::brokers(['brokers' => ['one:9092', 'two:9092']]));
        self::assertSame(['kafka'], Configuration::brokers([]));
    }
}
