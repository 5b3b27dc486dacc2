<?php

/**
 * Which dead letters are selected, and how few records are read for it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Dlq\Letter;
use Toporia\Realtime\Dlq\Letters;
use Toporia\Realtime\Dlq\Selection;
use Toporia\Realtime\Dlq\TopicNames;
use Toporia\Realtime\Worker\UsageError;

final class SelectionUnitTest extends TestCase
{
    private MemoryCluster $cluster;

    protected function setUp(): void
    {
        $this->cluster = new MemoryCluster();
        $event = static fn (string $id, string $channel): string => (string) json_encode(
            ['id' => $id, 'type' => 'event', 'channel' => $channel, 'event' => 'paid', 'timestamp' => 1]
        );
        $this->cluster->letter('orders', '{"n":0}', ['x-failed-at' => '1000', 'x-exception-class' => 'A\Late']);
        $this->cluster->letter('orders', '{"n":1}', ['x-failed-at' => '2000', 'x-original-group' => 'other']);
        $this->cluster->letter('rt_user_1', $event('id-1', 'user.1'), ['x-failed-at' => '3000']);
        $this->cluster->letter('rt_user_2', $event('id-2', 'user.2'), ['x-exception-class' => 'Late']);
        $this->cluster->letter('rt_user_2', $event('id-2', 'user.2'), ['x-failed-at' => '4000']);
    }

    /**
     * @dataProvider selections
     *
     * @param array<string, mixed> $options
     * @param list<string> $expected
     */
    #[DataProvider('selections')]
    public function testItSelects(array $options, array $expected, int $ids = 0): void
    {
        $given = $ids === 0 ? [] : explode(' ', (string) $options['ids']);
        $selection = Selection::of(new TopicNames(), $options, $given, 10_000);
        self::assertSame($expected, $this->chosen($selection));
    }

    /** @return array<string, array{array<string, mixed>, list<string>, 2?: int}> */
    public static function selections(): array
    {
        [$a, $b, $c, $d, $e] = [
            'dlq.orders/0/0', 'dlq.orders/0/1', 'dlq.rt_user_1/0/0', 'dlq.rt_user_2/0/0', 'dlq.rt_user_2/0/1',
        ];

        return [
            'everything' => [[], [$a, $b, $c, $d, $e]],
            'the original topic' => [['topic' => 'orders'], [$a, $b]],
            'the dead-letter topic' => [['topic' => 'dlq.orders'], [$a, $b]],
            'a pattern of topics' => [['topic' => 'rt_user_*'], [$c, $d, $e]],
            'a pattern of dead-letter topics' => [['topic' => 'dlq.rt_*'], [$c, $d, $e]],
            'a channel' => [['topic' => 'user.2'], [$d, $e]],
            'a pattern of channels' => [['topic' => 'user.*'], [$c, $d, $e]],
            'no such topic' => [['topic' => 'nothing'], []],
            'a class' => [['class' => '\A\Late'], [$a]],
            'the last part of a class, in any case' => [['class' => 'late'], [$a, $d]],
            'part of a class name' => [['class' => 'Lat'], []],
            'since' => [['since' => '3000'], [$c, $d, $e]],
            'since so long ago' => [['since' => '7000s'], [$c, $d, $e]],
            'before' => [['before' => '3000'], [$a, $b]],
            'a group' => [['group' => 'other'], [$b]],
            'all of it' => [['topic' => 'rt_user_2', 'since' => '3000', 'class' => 'OrderException'], [$e]],
            'a place' => [['ids' => $b], [$b], 1],
            'a place without the prefix' => [['ids' => 'orders/0/1'], [$b], 1],
            'places' => [['ids' => "$b $e"], [$b, $e], 1],
            'a message' => [['ids' => 'id-2'], [$d, $e], 1],
            'a record of a raw topic' => [['ids' => 'orders-0-3'], [$a, $b], 1],
            'a message and a place' => [['ids' => "id-1 $a"], [$a, $c], 1],
            'an id that is none' => [['ids' => 'nobody'], [], 1],
            'a place and a group' => [['ids' => $a, 'group' => 'other'], [], 1],
        ];
    }

    public function testOnlyTheNeededPartOfATopicIsRead(): void
    {
        $this->chosen(Selection::of(new TopicNames(), [], ['orders/0/1'], 0));
        self::assertSame(['dlq.orders [1]'], $this->cluster->reads);
        $this->cluster->reads = [];
        $this->chosen(Selection::of(new TopicNames(), ['topic' => 'orders'], [], 0));
        self::assertSame(['dlq.orders'], $this->cluster->reads);
    }

    public function testReadingEndsWhenItIsStopped(): void
    {
        $seen = [];
        $letters = new Letters($this->cluster, new TopicNames());
        $letters->each(new Selection(new TopicNames()), static function (Letter $letter) use (&$seen): bool {
            $seen[] = (string) $letter->letterId();

            return count($seen) < 3;
        });
        self::assertCount(3, $seen);
        self::assertNotContains('dlq.rt_user_2', $this->cluster->reads);
    }

    public function testTheSelectionOfEverything(): void
    {
        self::assertTrue(Selection::of(new TopicNames(), [], [], 0)->isEverything());
        foreach (['topic' => 'a', 'class' => 'a', 'since' => '1', 'before' => '1', 'group' => 'a'] as $name => $value) {
            self::assertFalse(Selection::of(new TopicNames(), [$name => $value], [], 0)->isEverything(), $name);
        }
        self::assertFalse(Selection::of(new TopicNames(), [], ['a'], 0)->isEverything());
        self::assertFalse(Selection::of(new TopicNames(), [], ['a/0/1'], 0)->isEverything());
    }

    public function testEmptyValuesAreWrongUsage(): void
    {
        foreach (['topic', 'class', 'since', 'group'] as $name) {
            try {
                Selection::of(new TopicNames(), [$name => ''], [], 0);
                self::fail("An empty --$name was taken.");
            } catch (UsageError $e) {
                self::assertStringContainsString("--$name", $e->getMessage());
            }
        }
    }

    /** @return list<string> */
    private function chosen(Selection $selection): array
    {
        $chosen = [];
        $letters = new Letters($this->cluster, new TopicNames());
        $letters->markers();
        $letters->each($selection, static function (Letter $letter) use (&$chosen): void {
            $chosen[] = (string) $letter->letterId();
        });

        return $chosen;
    }
}
