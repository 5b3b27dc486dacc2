<?php

/**
 * Replaying: selection, target topics, markers, and a Kafka that refuses the records.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Dlq\Letter;
use Toporia\Realtime\Dlq\Letters;
use Toporia\Realtime\Dlq\TopicNames;
use Toporia\Realtime\Dlq\Record;
use Toporia\Realtime\Dlq\ReplayDelivery;
use Toporia\Realtime\Dlq\Replayer;
use Toporia\Realtime\Dlq\Selection;
use Toporia\Realtime\Exception\ConnectionException;

final class ReplayerUnitTest extends TestCase
{
    private const LEFT_OUT = ['x-original-size' => '2000000'];

    private MemoryCluster $cluster;

    protected function setUp(): void
    {
        $this->cluster = new MemoryCluster();
        $this->cluster->create('dlq.orders');
    }

    public function testARecordIsSentAgainAndMarked(): void
    {
        $letter = $this->cluster->letter('orders', '{"n":1}', ['own' => 'o'], 'key');
        $delivery = $this->replay();
        self::assertSame([1, [], [], false], [
            $delivery->replayed, $delivery->failed, $delivery->unmarked, $delivery->stopped,
        ]);
        [$sent] = $this->cluster->all('orders');
        self::assertSame(['{"n":1}', 'key', 'o'], [$sent->value, $sent->key, $sent->headers['own']]);
        self::assertSame(['app', '1'], [$sent->headers['x-replay-group'], $sent->headers['x-replays']]);
        self::assertSame(['dlq-replayed'], $this->cluster->compacted);
        [$mark] = $this->cluster->all('dlq-replayed');
        self::assertSame('dlq.orders/0/0', $mark->key);
        $value = json_decode((string) $mark->value, true);
        self::assertSame(['orders', 'orders-0-3'], [$value['to'], $value['id']]);
        self::assertEqualsWithDelta(time(), $value['at'], 2);
        self::assertNotNull($this->letters()->markers()->replayedAt(new Letter($letter, new TopicNames())));

        $plan = $this->replayer()->plan($this->select(), false);
        self::assertSame([0, 1], [$plan->count(), $plan->replayedBefore], 'hidden from now on');
        self::assertSame(1, $this->replayer()->plan($this->select(), true)->count());
    }

    public function testEachGroupOfEachTopicIsNamedInThePlan(): void
    {
        $this->cluster->letter('orders');
        $this->cluster->letter('orders', '{}', ['x-original-group' => 'other']);
        $this->cluster->letter('orders');
        $this->cluster->letter('users', '{}', ['x-failed-at' => '5']);
        $plan = $this->replayer()->plan($this->select(), false);
        self::assertSame([
            '  2 letters to orders for the group app',
            '  1 letter to orders for the group other',
            '  1 letter to users for the group app',
        ], $plan->summary());
        self::assertSame('dlq.users/0/0', $plan->sample()[0]['letter'], 'the oldest first');
        self::assertSame(4, $this->replayer()->run($plan)->replayed);
        self::assertSame(['app', 'other', 'app'], array_map(
            static fn (Record $record): ?string => $record->headers['x-replay-group'],
            $this->cluster->all('orders')
        ));
    }

    public function testLaterFailuresAreNotPartOfThePlan(): void
    {
        $this->cluster->letter('orders', 'first');
        $replayer = $this->replayer();
        $plan = $replayer->plan($this->select(), false);
        $this->cluster->letter('orders', 'second');
        self::assertSame(1, $replayer->run($plan)->replayed);
        self::assertSame(['first'], array_column($this->cluster->all('orders'), 'value'));
    }

    public function testBatchesAreAcknowledgedBeforeTheyAreMarked(): void
    {
        for ($i = 0; $i < 250; $i++) {
            $this->cluster->letter('orders', "n$i");
        }
        $progress = [];
        $replayer = $this->replayer();
        $note = static function (int $done) use (&$progress): void {
            $progress[] = $done;
        };
        $delivery = $replayer->run($replayer->plan($this->select(), false), $note);
        self::assertSame(250, $delivery->replayed);
        self::assertSame([100, 200, 250], $progress);
        self::assertSame(6, $this->cluster->flushes, 'records, then marks, of three batches');
        self::assertCount(250, $this->cluster->all('dlq-replayed'));
        self::assertSame(
            array_map(static fn (int $i): string => "n$i", range(0, 249)),
            array_column($this->cluster->all('orders'), 'value')
        );
    }

    public function testUndeliveredRecordsAreNamedAndNotMarked(): void
    {
        $this->cluster->letter('orders');
        $this->cluster->letter('users');
        $this->cluster->failing = 'orders';
        $delivery = $this->replay();
        self::assertSame(['dlq.orders/0/0' => 'timed out'], $delivery->failed);
        self::assertSame(1, $delivery->replayed);
        $this->cluster->failing = null;
        self::assertSame(1, $this->replay()->replayed, 'it is still there to be replayed');
    }

    public function testItStopsWhenNoRecordIsDeliveredAnyMore(): void
    {
        for ($i = 0; $i < 400; $i++) {
            $this->cluster->letter('orders');
        }
        $this->cluster->failing = 'orders';
        $delivery = $this->replay();
        self::assertTrue($delivery->stopped);
        self::assertSame(0, $delivery->replayed);
        self::assertCount(200, $delivery->failed, 'two batches were tried');
        self::assertSame([], $this->cluster->all('dlq-replayed'));
    }

    public function testItStopsWhenMarksCannotBeWritten(): void
    {
        for ($i = 0; $i < 150; $i++) {
            $this->cluster->letter('orders');
        }
        $this->cluster->failing = 'dlq-replayed';
        $delivery = $this->replay();
        self::assertTrue($delivery->stopped);
        self::assertSame(100, $delivery->replayed);
        self::assertCount(100, $delivery->unmarked);
        self::assertSame('timed out', $delivery->unmarked['dlq.orders/0/0']);
    }

    public function testWithoutATopicForMarksNothingIsSent(): void
    {
        $this->cluster->letter('orders');
        $this->cluster->canCreate = false;
        try {
            $this->replay();
            self::fail('It went on.');
        } catch (ConnectionException) {
            self::assertSame([], $this->cluster->all('orders'));
        }
    }

    public function testARefusedRecordDoesNotAffectOthers(): void
    {
        $this->cluster->letter('orders');
        $this->cluster->letter('users');
        $this->cluster->refusing = 'orders';
        $delivery = $this->replay();
        self::assertSame(['dlq.orders/0/0' => 'orders refuses.'], $delivery->failed);
        self::assertSame(1, $delivery->replayed);
        self::assertFalse($delivery->stopped);
    }

    public function testAStopFinishesTheCurrentBatch(): void
    {
        for ($i = 0; $i < 10; $i++) {
            $this->cluster->letter('orders');
        }
        $asked = 0;
        $replayer = $this->replayer();
        $stop = static function () use (&$asked): bool {
            return ++$asked > 4;
        };
        $delivery = $replayer->run($replayer->plan($this->select(), false), null, $stop);
        self::assertTrue($delivery->stopped);
        self::assertSame(3, $delivery->replayed);
        self::assertCount(3, $this->cluster->all('dlq-replayed'));
        self::assertSame(7, $this->replayer()->plan($this->select(), false)->count());
    }

    public function testUnreplayableRecordsAreReportedWithTheReason(): void
    {
        $this->cluster->letter('orders', '{}', ['x-original-group' => null]);
        $this->cluster->letter('orders', null, self::LEFT_OUT);
        $this->cluster->letter('gone');
        unset($this->cluster->topics['gone']);
        $plan = $this->replayer()->plan($this->select(), false);
        self::assertSame(0, $plan->count());
        self::assertStringContainsString('no x-original-group', $plan->refused['dlq.orders/0/0']);
        self::assertStringContainsString('no longer in orders', $plan->refused['dlq.orders/0/1']);
        self::assertSame('its topic gone no longer exists.', $plan->refused['dlq.gone/0/0']);
    }

    public function testTheOriginalOfADeadLetterWithoutAValueIsFetched(): void
    {
        foreach (range(0, 4) as $i) {
            $this->cluster->put('orders', "large $i", "key $i", ['own' => "$i"], 1, 1763700000);
        }
        $at = ['x-original-partition' => '1', 'x-original-offset' => '3'];
        $this->cluster->letter('orders', null, self::LEFT_OUT + $at);
        self::assertSame(1, $this->replay()->replayed);
        $sent = $this->cluster->all('orders')[0];
        self::assertSame(['large 3', 'key 3', '3', '1'], [
            $sent->value, $sent->key, $sent->headers['own'], $sent->headers['x-replays'],
        ]);
        self::assertContains('orders {"1":3,"0":0}', $this->cluster->reads, 'only what is needed was read');
    }

    public function testAnotherRecordInItsPlaceIsNotTheOriginal(): void
    {
        foreach (range(0, 4) as $i) {
            $this->cluster->put('orders', 'newer', 'k', [], 0, 1763709999);
        }
        $this->cluster->letter('orders', null, self::LEFT_OUT);
        $plan = $this->replayer()->plan($this->select(), false);
        self::assertCount(1, $plan->refused);
    }

    public function testATombstoneIsSentAsATombstone(): void
    {
        $this->cluster->letter('users', null, [], 'k');
        self::assertSame(1, $this->replay()->replayed);
        [$sent] = $this->cluster->all('users');
        self::assertSame([null, 'k'], [$sent->value, $sent->key]);
    }

    public function testWithoutAKeyItGoesToItsOwnPartition(): void
    {
        $this->cluster->create('orders', 4);
        $two = ['x-original-partition' => '2'];
        $this->cluster->letter('orders', 'no key', $two, null);
        $this->cluster->letter('orders', 'a key', $two, 'k');
        $this->cluster->letter('orders', 'no such partition', ['x-original-partition' => '7'], null);
        $this->replay();
        self::assertSame(['no key'], array_column($this->cluster->topics['orders'][2], 'value'));
        self::assertSame(['a key', 'no such partition'], array_column($this->cluster->topics['orders'][0], 'value'));
    }

    public function testAMarkFromBeforeTheTopicWasRecreatedHidesNothing(): void
    {
        $mark = static fn (int $at): string => (string) json_encode(['at' => $at]);
        $this->cluster->put('dlq-replayed', $mark(time() - 3600), 'dlq.orders/0/0');
        $this->cluster->put('dlq-replayed', $mark(time() + 5), 'dlq.orders/0/1');
        $this->cluster->put('dlq-replayed', $mark(time() + 5), 'dlq.orders/0/2');
        $this->cluster->put('dlq-replayed', null, 'dlq.orders/0/2');
        $this->cluster->put('dlq-replayed', 'no JSON', 'no handle');
        $this->cluster->letter('orders', 'newer than its mark');
        $this->cluster->letter('orders', 'replayed');
        $this->cluster->letter('orders', 'forgotten');
        $plan = $this->replayer()->plan($this->select(), false);
        self::assertSame([2, 1], [$plan->count(), $plan->replayedBefore]);
    }

    public function testAMarkIsValidThoughTheConsumersClockIsAhead(): void
    {
        $this->cluster->letter('orders', '{}', ['x-failed-at' => (string) (time() + 100)]);
        $this->replay();
        self::assertSame(0, $this->replayer()->plan($this->select(), false)->count());
    }

    public function testDeadLettersDeletedInBetweenAreCounted(): void
    {
        $this->cluster->letter('orders');
        $this->cluster->letter('orders');
        $replayer = $this->replayer();
        $plan = $replayer->plan($this->select(), false);
        $this->cluster->deleteRecords('dlq.orders', [0 => 1]);
        $delivery = $replayer->run($plan);
        self::assertSame([1, 1], [$delivery->replayed, $delivery->gone]);
    }

    private function replay(): ReplayDelivery
    {
        $replayer = $this->replayer();

        return $replayer->run($replayer->plan($this->select(), false));
    }

    private function replayer(): Replayer
    {
        return new Replayer($this->cluster, $this->letters());
    }

    private function letters(): Letters
    {
        return new Letters($this->cluster, new TopicNames());
    }

    private function select(): Selection
    {
        return new Selection(new TopicNames());
    }
}
