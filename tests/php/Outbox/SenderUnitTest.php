<?php

/**
 * A batch that Kafka refuses in part: which rows are marked, which wait, and that a key keeps its order.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Outbox;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Outbox\RelayResult;
use Toporia\Realtime\Outbox\Row;
use Toporia\Realtime\Outbox\Sender;
use Toporia\Realtime\Outbox\ShardWorker;
use Toporia\Realtime\Testing\RealtimeFake;
use Toporia\Realtime\Tests\Support\PublisherDouble;
use Throwable;

final class SenderUnitTest extends TestCase
{
    public function testAcknowledgedRowsAreSentInOrder(): void
    {
        $fake = new RealtimeFake();
        $outcome = $this->send($fake, [$this->row(1, 'a'), $this->row(2, 'b'), $this->row(3, 'a')]);
        self::assertSame([1, 2, 3], self::ids($outcome->sent));
        self::assertSame([], $outcome->retry);
        $fake->assertBroadcastTimes('user.1', 'e', 3);
    }

    public function testARefusalBlocksOnlyItsKey(): void
    {
        $publisher = $this->refusing(2, new UnknownTopicException('no such topic'));
        $rows = [$this->row(1, 'a'), $this->row(2, 'b'), $this->row(3, 'a'), $this->row(4, 'b')];
        $outcome = $this->send($publisher, $rows);
        self::assertSame([1, 3], self::ids($outcome->sent));
        self::assertSame([2], self::ids(array_column($outcome->retry, 0)));
        self::assertSame([1, 3], $publisher->published, 'row 4 was not even tried');
    }

    public function testAMissingMasterKeyBlocksOnlyTheKeyOfTheEncryptedChannel(): void
    {
        $publisher = $this->refusing(1, new ConfigurationException('no master key'));
        $rows = [$this->row(1, 'a', 'private-encrypted-a'), $this->row(2, 'b')];
        $outcome = $this->send($publisher, $rows);
        self::assertSame([2], self::ids($outcome->sent));
        self::assertSame([[$rows[0], 'no master key']], $outcome->retry);

        // Any other wrong setting concerns every row.
        $this->expectException(ConfigurationException::class);
        $this->send($publisher, [$this->row(1, 'a')]);
    }

    public function testAnUnsendableRowBlocksNothing(): void
    {
        $publisher = $this->refusing(1, new MessageTooLargeException('too large'));
        $outcome = $this->send($publisher, [$this->row(1, 'a'), $this->row(2, 'a')]);
        self::assertSame([1], self::ids(array_column($outcome->failed, 0)));
        self::assertSame([2], self::ids($outcome->sent));
    }

    public function testAFullQueueLeavesTheRestForTheNextBatch(): void
    {
        $publisher = $this->refusing(2, new QueueFullException('full'));
        $outcome = $this->send($publisher, [$this->row(1, 'a'), $this->row(2, 'b'), $this->row(3, 'c')]);
        self::assertSame([1], self::ids($outcome->sent));
        self::assertSame([[], []], [$outcome->retry, $outcome->failed]);
    }

    public function testACorruptedRowIsMarkedAsFailed(): void
    {
        $broken = Row::of(['payload' => 'no json'] + $this->columns(1, 'a'));
        $outcome = $this->send(new RealtimeFake(), [$broken, $this->row(2, 'a')]);
        self::assertSame([1], self::ids(array_column($outcome->failed, 0)));
        self::assertSame([2], self::ids($outcome->sent));
    }

    public function testBackoffGrowsToItsMaximum(): void
    {
        foreach ([1 => 500, 2 => 1000, 5 => 8000, 50 => 60_000] as $attempts => $expected) {
            self::assertEqualsWithDelta($expected, ShardWorker::retryDelay($attempts), $expected * 0.2);
        }
    }

    /** @param list<Row> $rows */
    private function send(Publisher $publisher, array $rows): RelayResult
    {
        $sender = new Sender($publisher, static function (int $timeoutMs): void {
        });

        return $sender->send($rows, static fn (): bool => false);
    }

    /** @param list<Row> $rows */
    private static function ids(array $rows): array
    {
        return array_map(static fn (Row $row): int => $row->id, $rows);
    }

    private function row(int $id, string $key, string $channel = 'user.1'): Row
    {
        return Row::of($this->columns($id, $key, $channel));
    }

    /** @return array<string, mixed> */
    private function columns(int $id, string $key, string $channel = 'user.1'): array
    {
        $message = Message::event($channel, 'e', $id);

        return [
            'id' => (string) $id,
            'message_id' => $message->getId(),
            'shard' => 0,
            'key_hash' => crc32($key),
            'attempts' => 0,
            'record_key' => json_encode($key),
            'headers' => null,
            'payload' => $message->toJson(),
        ];
    }

    private function refusing(int $id, Throwable $why): Publisher
    {
        return new class ($id, $why) extends PublisherDouble {
            /** @var list<int> */
            public array $published = [];

            public function __construct(private int $refused, private Throwable $why)
            {
                parent::__construct();
            }

            public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string
            {
                if ($message->getData() === $this->refused) {
                    throw $this->why;
                }
                $this->published[] = $message->getData();

                return $message->getId();
            }
        };
    }
}
