<?php

/**
 * Comparing a topic with the configuration: its role, and the differences.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Diagnostics\Comparison;
use Toporia\Realtime\Diagnostics\Difference;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Diagnostics\TopicState;

final class ComparisonUnitTest extends TestCase
{
    public function testTheRoleOfATopic(): void
    {
        $grouped = self::plan([['user.*', 'shop.user', null, null, null]]);
        $kinds = [
            'shop.user' => TopicPlan::MAPPED, 'shop' => TopicPlan::FALLBACK, 'shop_user_1' => TopicPlan::LEFT_OVER,
            'shop.other' => TopicPlan::OTHER, 'dlq.shop.user' => TopicPlan::DEAD_LETTERS,
            'dlq-replayed' => TopicPlan::DEAD_LETTERS, 'shop.__presence' => TopicPlan::GATEWAY,
            'dlq.other' => null, 'shopping' => null, 'orders' => null,
        ];
        foreach ($kinds as $topic => $kind) {
            self::assertSame($kind, $grouped->kind($topic), $topic);
        }
        $each = self::plan([], ['topic_strategy' => 'one-per-channel']);
        self::assertSame(TopicPlan::CHANNEL, $each->kind('shop_user_1'));
        self::assertSame(TopicPlan::OTHER, $each->kind('shop.user'));
        self::assertSame([], $each->wanted);
    }

    public function testTheFirstOfSeveralEntriesAppliesAndAConflictIsReported(): void
    {
        $plan = self::plan([['a.*', 'shop.a', 3, 2, 60_000], ['b.*', 'shop.a', 4, 2, 60_000]]);
        $wanted = $plan->wanted['shop.a'];
        self::assertSame([['a.*', 'b.*'], 3, true], [$wanted->patterns, $wanted->partitions, $wanted->disputed]);
        self::assertSame('3 partitions, 2 replicas, retention 1 min', $wanted->describe());
        $same = self::plan([['a.*', 'shop.a', 3, null, null], ['b.*', 'shop.a', 3, null, null]]);
        self::assertFalse($same->wanted['shop.a']->disputed);
    }

    public function testEachDifferenceWithItsRemedy(): void
    {
        $plan = self::plan([
            ['a.*', 'shop.a', 3, 2, 3_600_000],
            ['b.*', 'shop.b', 1, null, null],
            ['c.*', 'shop.c', null, null, -1],
        ], ['auto_create_topics' => false, 'default_topic' => 'shop.c']);
        $topics = ['shop.a' => self::topic('shop.a', 4), 'shop.c' => self::topic('shop.c', 1)];
        $found = self::found($plan, $topics, ['retention.ms' => '-1']);
        self::assertSame(['partitions', 'replication', 'retention', 'missing'], array_column($found, 'kind'));
        self::assertSame(
            ['has 4 partitions, 3 wanted; Kafka cannot remove any.', 'retention unlimited, 1 h wanted.'],
            [$found[0]->what, $found[2]->what]
        );
        self::assertSame('realtime:topics:create shop.b', $found[3]->remedy);
        self::assertSame(Difference::WRONG, $found[3]->level, 'it does not come by itself');
    }

    public function testNamesThatCollideInKafka(): void
    {
        $plan = self::plan([['a.*', 'shop.a.b', null, null, null], ['b.*', 'shop.a_c', null, null, null]], [
            'default_topic' => 'shop.a.c',
        ]);
        $found = self::found($plan, ['shop.a_b' => self::topic('shop.a_b', 1), 'shop.a.c' => self::topic('shop.a.c', 1)]);
        self::assertSame(['collision', 'collision', 'superfluous'], array_column($found, 'kind'));
        self::assertStringContainsString('shop.a_b', $found[0]->what);
        self::assertStringContainsString('shop.a.c', $found[1]->what);
    }

    public function testTooManyChannelsForOneTopicEachAndLeftovers(): void
    {
        $topics = [];
        for ($i = 0; $i <= 1000; $i++) {
            $topics["shop_user_$i"] = self::topic("shop_user_$i", 1);
        }
        $each = self::plan([], ['topic_strategy' => 'one-per-channel']);
        $found = self::found($each, $topics);
        self::assertSame(['channels'], array_column($found, 'kind'));
        self::assertStringContainsString("'grouped'", $found[0]->remedy);
        unset($topics['shop_user_0']);
        self::assertSame([], self::found($each, $topics));
        $left = self::found(self::plan([], ['default_topic' => 'shop_user_1']), $topics);
        self::assertSame(['superfluous'], array_column($left, 'kind'));
        self::assertStringStartsWith('999 topics from one topic per channel', $left[0]->what);
        $letters = self::found($each, ['dlq.shop_gone' => self::topic('dlq.shop_gone', 1)]);
        self::assertSame('is a topic with dead letters of a topic that no longer exists.', $letters[0]->what);
    }

    public function testABrokerThatIsDown(): void
    {
        $one = ['partition' => 0, 'leader' => -1, 'replicas' => [1, 2], 'isr' => [2]];
        $two = ['partition' => 1, 'leader' => 2] + $one;
        $each = self::plan([], ['topic_strategy' => 'one-per-channel']);
        $found = self::found($each, [
            'shop_a' => new TopicState('shop_a', [$one, $two]),
            'shop_b' => new TopicState('shop_b', [$two]),
            'not_ours' => new TopicState('not_ours', [$one]),
        ]);
        self::assertSame(
            ['has 1 partition without a leader.', 'has 1 partition with replicas that are not in sync.'],
            array_column($found, 'what')
        );
    }

    /**
     * @param list<array{string, string, ?int, ?int, ?int}> $mapping pattern, topic, partitions, replication, retention
     * @param array<string, mixed> $settings
     */
    private static function plan(array $mapping, array $settings = []): TopicPlan
    {
        $keys = ['pattern', 'topic', 'partitions', 'replication', 'retention_ms'];

        return new TopicPlan($settings + [
            'topic_prefix' => 'shop',
            'topic_strategy' => 'grouped',
            'topic_mapping' => array_map(static fn (array $entry): array => array_combine($keys, $entry), $mapping),
            'default_topic' => 'shop',
            'default_partitions' => null,
            'auto_create_topics' => true,
            'dlq_prefix' => 'dlq',
        ]);
    }

    private static function topic(string $name, int $partitions): TopicState
    {
        $all = [];
        for ($i = 0; $i < $partitions; $i++) {
            $all[] = ['partition' => $i, 'leader' => 1, 'replicas' => [1], 'isr' => [1]];
        }

        return new TopicState($name, $all);
    }

    /**
     * @param array<string, TopicState> $topics
     * @param array<string, ?string> $settings
     *
     * @return list<Difference>
     */
    private static function found(TopicPlan $plan, array $topics, array $settings = []): array
    {
        return (new Comparison($plan, $topics, static fn (): array => $settings, 3))->differences();
    }
}
