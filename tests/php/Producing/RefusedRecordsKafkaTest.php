<?php

/**
 * Records that the broker itself refuses: the reason that it gives reaches the application, unharmed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class RefusedRecordsKafkaTest extends ProducingTestCase
{
    public function testTheReasonOfARefusedRecordIsTheBrokersOwn(): void
    {
        $topic = $this->topic('compacted');
        (new Admin(['brokers' => self::address()]))->createTopic($topic, 1, 1, ['cleanup.policy' => 'compact']);
        $broker = $this->broker();
        for ($round = 0; $round < 5; $round++) {
            $broker->send($topic, "no key $round");
            $e = self::catch(DeliveryException::class, static fn () => Realtime::flush(20_000));
            self::assertSame(
                ["Compacted topic cannot accept message without key in topic partition $topic-0"],
                array_column($e->getFailed(), 'reason')
            );
            self::assertSame($e->getFailed()[0]['reason'], Realtime::stats()['last_error']);
        }
    }

    /** @return iterable<string, array{list<int>}> */
    public static function culprits(): iterable
    {
        yield 'several in a batch' => [[2, 3, 250, 599]];
        // librdkafka passes its code for the valid ones as well.
        yield 'one in a batch' => [[250]];
    }

    /**
     * @dataProvider culprits
     *
     * @param list<int> $culprits
     */
    #[DataProvider('culprits')]
    public function testOnlyTheInvalidRecordsOfABatchFail(array $culprits): void
    {
        $topic = $this->topic('compacted');
        (new Admin(['brokers' => self::address()]))->createTopic($topic, 1, 1, ['cleanup.policy' => 'compact']);
        $broker = $this->broker(['producer_config' => ['linger.ms' => 100]]);
        $failed = $expected = [];
        // From the first batch on, which a second one must not overtake.
        for ($n = 0; $n < 600; $n++) {
            $isBad = in_array($n, $culprits, true);
            $id = $broker->send($topic, sprintf('%04d', $n) . str_repeat('x', 200), $isBad ? null : "$n", [], 0);
            if ($isBad) {
                $failed[] = $id;
            } else {
                $expected[] = $n;
            }
        }
        $e = self::catch(DeliveryException::class, static fn () => Realtime::flush(30_000));
        self::assertSame($failed, array_column($e->getFailed(), 'id'));
        foreach ($e->getFailed() as $failure) {
            self::assertStringContainsString('cannot accept message without key', $failure['reason']);
        }
        $numbers = array_map(
            static fn (Message $message) => (int) substr((string) $message->getPayload(), 0, 4),
            $this->consumeAll($topic, count($expected), 15.0)
        );
        self::assertSame($expected, $numbers);
    }
}
