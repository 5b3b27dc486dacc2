<?php

/**
 * A topic that takes less than a batch: the batch is divided, and only a message that is itself too large fails.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class TooLargeBatchKafkaTest extends ProducingTestCase
{
    public function testABatchThatIsTooLargeIsSentAgainInSmallerBatchesInOrder(): void
    {
        $topic = $this->smallTopic(100_000);
        $broker = $this->broker();
        $failures = Realtime::stats()['delivery_failures'];
        for ($n = 0; $n < 2000; $n++) {
            $broker->send($topic, sprintf('%04d', $n) . str_repeat('x', 646), 'key');
        }
        Realtime::flush(30_000);
        // Sent while the client is replaced, and after that.
        $broker->send($topic, '2000', 'key');
        Realtime::flush(10_000);
        self::assertSame(range(0, 2000), $this->numbers($topic, 2001));
        self::assertSame($failures, Realtime::stats()['delivery_failures']);
    }

    public function testOnlyTheMessageThatIsTooLargeFails(): void
    {
        $topic = $this->smallTopic(20_000);
        $broker = $this->broker(['producer_config' => ['linger.ms' => 200]]);
        for ($round = 0; $round < 3; $round++) {
            $ids = [];
            foreach ([100, 100, 30_000, 100, 100] as $n => $size) {
                $ids[] = $broker->send($topic, sprintf('%04d', 5 * $round + $n) . str_repeat('x', $size), 'key');
            }
            $e = self::catch(DeliveryException::class, static fn () => Realtime::flush(20_000));
            self::assertCount(1, $e->getFailed());
            self::assertStringContainsString('too large', $e->getFailed()[0]['reason']);
            self::assertSame($ids[2], $e->getFailed()[0]['id']);
        }
        self::assertSame([0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14], $this->numbers($topic, 12));
    }

    public function testMessagesSentWhileABatchIsDividedStayBehindIt(): void
    {
        $topic = $this->smallTopic(20_000);
        $broker = $this->broker();
        // A broker accepts any sequence from a producer that is new to a partition, so the first batch must be stored.
        $broker->send($topic, 'first', 'key');
        Realtime::flush(10_000);
        for ($n = 0; $n < 3000; $n++) {
            $broker->send($topic, sprintf('%04d', $n) . str_repeat('x', 200), 'key');
            if ($n % 100 === 0) {
                usleep(3000);
            }
        }
        Realtime::flush(30_000);
        self::assertSame([0, ...range(0, 2999)], $this->numbers($topic, 3001));
    }

    public function testTheFirstBatchOfAClientIsNotOvertaken(): void
    {
        // A broker accepts any sequence from a producer that is new to a partition, and each client is a new one.
        for ($round = 0; $round < 8; $round++) {
            $topic = $this->topic("small-$round");
            (new Admin(['brokers' => self::address()]))->createTopic($topic, 2, 1, ['max.message.bytes' => 20_000]);
            $broker = $this->broker(['producer_config' => ['client.id' => "round-$round"]]);
            for ($n = 0; $n < 2000; $n++) {
                // Each key keeps its order.
                $broker->send($topic, sprintf('%04d', $n) . str_repeat('x', 200), $n % 2 === 0 ? 'a' : 'b');
            }
            Realtime::flush(30_000);
            $numbers = $this->numbers($topic, 2000);
            foreach ([0, 1] as $odd) {
                $own = array_values(array_filter($numbers, static fn (int $number) => $number % 2 === $odd));
                self::assertSame(range($odd, 1998 + $odd, 2), $own, "round $round");
            }
        }
    }

    private function smallTopic(int $bytes): string
    {
        $topic = $this->topic('small');
        (new Admin(['brokers' => self::address()]))->createTopic($topic, 1, 1, ['max.message.bytes' => $bytes]);

        return $topic;
    }

    /**
     * @return list<int> the numbers that the values begin with, in the order of the partition
     */
    private function numbers(string $topic, int $count): array
    {
        return array_map(
            static fn (Message $message) => (int) substr((string) $message->getPayload(), 0, 4),
            $this->consumeAll($topic, $count, 15.0)
        );
    }
}
