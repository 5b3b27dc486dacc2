<?php

/**
 * The wrapper around a batch callback: which messages are left out, and which message a failure is attributed to.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use Closure;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use RuntimeException;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Idempotency\Idempotency;
use Toporia\Realtime\Idempotency\InProgressException;
use Toporia\Realtime\Idempotency\MemoryStore;
use Toporia\Realtime\Idempotency\Store;
use Toporia\Realtime\Message;

final class IdempotencyBatchUnitTest extends TestCase
{
    /** @var list<list<mixed>> what each call of the callback was given */
    private array $lists = [];
    /** @var array<int, Message> */
    private array $messages = [];

    public function testHandledMessagesAreLeftOut(): void
    {
        $idempotency = new Idempotency(new MemoryStore(), 'stock');
        $callback = $idempotency->wrap($this->collector());
        $callback($this->list(1, 2, 3));
        $callback($this->list(2, 4, 3, 5));
        $callback($this->list(1, 5));
        self::assertSame([[1, 2, 3], [4, 5]], $this->lists, 'and no call with an empty list');
        self::assertSame(4, $idempotency->skipped());
        $callback([]);
        self::assertCount(2, $this->lists);
    }

    public function testADuplicateInABatchRunsOnce(): void
    {
        $idempotency = new Idempotency(new MemoryStore(), 'stock');
        $idempotency->wrap($this->collector())($this->list(1, 2, 1, 1, 3));
        self::assertSame([[1, 2, 3]], $this->lists);
        self::assertSame(2, $idempotency->skipped());
    }

    /** @dataProvider stores */
    #[DataProvider('stores')]
    public function testABatchExceptionKeepsEarlierMessages(Closure $store): void
    {
        $idempotency = new Idempotency($store(), 'stock');
        $idempotency->wrap($this->collector())($this->list(1, 3));
        $failing = $this->collector(4, static fn (int $at) => new BatchException($at, new RuntimeException('no 4')));
        $e = $this->failure(fn () => $idempotency->wrap($failing)($this->list(1, 2, 3, 2, 4, 5)));
        self::assertInstanceOf(BatchException::class, $e);
        self::assertSame(4, $e->getIndex(), "message 4 stands at 4 in the broker's list, at 1 in the callback's");
        self::assertSame('no 4', $e->getPrevious()?->getMessage());
        $this->lists = [];
        $idempotency->wrap($this->collector())($this->list(1, 2, 3, 4, 5));
        self::assertSame([[4, 5]], $this->lists, '2 is done, 4 and 5 are not');
    }

    /** @return array<string, array{Closure(): Store}> */
    public static function stores(): array
    {
        return [
            'a store that marks one by one' => [static fn () => new MemoryStore()],
            'a store that takes all back' => [static fn () => new RecordingStore()],
        ];
    }

    public function testAStoreThatRollsBackHandlesEarlierMessagesAgain(): void
    {
        $idempotency = new Idempotency(new RecordingStore(), 'stock');
        $failing = $this->collector(3, static fn (int $at) => new BatchException($at));
        $e = $this->failure(fn () => $idempotency->wrap($failing)($this->list(1, 2, 3, 4)));
        self::assertInstanceOf(BatchException::class, $e);
        self::assertSame(2, $e->getIndex());
        self::assertSame([[1, 2, 3, 4], [1, 2]], $this->lists);
    }

    public function testAnEarlierFailureInTheSecondPassCounts(): void
    {
        $calls = 0;
        $callback = function (array $messages) use (&$calls): void {
            $this->lists[] = array_map(static fn (Message $message) => $message->getData(), $messages);
            $calls++;
            if ($calls <= 2) {
                throw new BatchException(4 - $calls, new RuntimeException("call $calls"));
            }
        };
        $idempotency = new Idempotency(new RecordingStore(), 'stock');
        $e = $this->failure(fn () => $idempotency->wrap($callback)($this->list(1, 2, 3, 4, 5)));
        self::assertSame([[1, 2, 3, 4, 5], [1, 2, 3], [1, 2]], $this->lists);
        self::assertInstanceOf(BatchException::class, $e);
        self::assertSame([2, 'call 2'], [$e->getIndex(), $e->getPrevious()?->getMessage()]);
    }

    public function testAnyOtherFailureIsAttributedToTheFirstNewMessage(): void
    {
        $idempotency = new Idempotency(new MemoryStore(), 'stock');
        $failing = $this->collector(3, static fn () => new RuntimeException('broken'));
        $e = $this->failure(fn () => $idempotency->wrap($failing)($this->list(1, 2, 3)));
        self::assertSame([RuntimeException::class, 'broken'], [$e::class, $e->getMessage()], 'at the first: as it is');
        $idempotency->wrap($this->collector())($this->list(1, 2));
        $e = $this->failure(fn () => $idempotency->wrap($failing)($this->list(1, 2, 4, 3)));
        self::assertInstanceOf(BatchException::class, $e);
        self::assertSame([2, 'broken'], [$e->getIndex(), $e->getPrevious()?->getMessage()]);
    }

    public function testAnIndexBeyondTheBatchCountsAsTheFirst(): void
    {
        foreach ([4, 400, -1] as $index) {
            $idempotency = new Idempotency(new MemoryStore(), 'stock');
            $failing = $this->collector(1, static fn () => new BatchException($index));
            $e = $this->failure(fn () => $idempotency->wrap($failing)($this->list(1, 2, 3, 4)));
            self::assertInstanceOf(BatchException::class, $e);
            self::assertSame(0, $e->getIndex());
            $this->lists = [];
            $idempotency->wrap($this->collector())($this->list(1, 2, 3, 4));
            self::assertSame([[1, 2, 3, 4]], $this->lists, 'nothing was marked');
        }
    }

    public function testAMessageWithoutAKeyStopsTheBatch(): void
    {
        $key = static fn (Message $message): ?string => $message->getData() === 3 ? null : "k{$message->getData()}";
        $idempotency = new Idempotency(new MemoryStore(), 'stock', $key);
        $e = $this->failure(fn () => $idempotency->wrap($this->collector())($this->list(1, 2, 3, 4)));
        self::assertInstanceOf(BatchException::class, $e);
        self::assertSame(2, $e->getIndex());
        self::assertInstanceOf(PermanentException::class, $e->getPrevious());
        self::assertSame([[1, 2]], $this->lists);
        $e = $this->failure(fn () => $idempotency->wrap($this->collector())($this->list(3, 4)));
        self::assertInstanceOf(PermanentException::class, $e);
    }

    public function testAKeyInProgressElsewhereStopsTheBatch(): void
    {
        $store = new MemoryStore();
        $idempotency = new Idempotency($store, 'stock', static fn (Message $message): string => "k{$message->getData()}");
        $list = $this->list(1, 2, 3);
        $e = $this->failure(fn () => $store->run(
            ['stock:k2' => null],
            fn () => $idempotency->wrap($this->collector())($list)
        ));
        self::assertInstanceOf(BatchException::class, $e);
        self::assertSame(1, $e->getIndex());
        self::assertInstanceOf(InProgressException::class, $e->getPrevious());
        self::assertSame([[1]], $this->lists, 'what stood before it is done');
    }

    public function testAStoreFailureIsAttributedToTheFirstMessage(): void
    {
        $store = new RecordingStore();
        $store->fails = new RuntimeException('the store is down');
        $idempotency = new Idempotency($store, 'stock');
        $e = $this->failure(fn () => $idempotency->wrap($this->collector())($this->list(1, 2)));
        self::assertSame($store->fails, $e);
        self::assertSame([], $this->lists);
    }

    /**
     * Messages with these numbers; equal numbers are the same message.
     *
     * @return list<Message>
     */
    private function list(int ...$numbers): array
    {
        return array_map(
            fn (int $number) => $this->messages[$number] ??= Message::event('stock.1', 'stock.moved', $number),
            array_values($numbers)
        );
    }

    /**
     * A callback that keeps its batches and fails at that number.
     *
     * @param (Closure(int): Throwable)|null $failure gets the index in its own list
     */
    private function collector(?int $failsAt = null, ?Closure $failure = null): Closure
    {
        return function (array $messages) use ($failsAt, $failure): void {
            $this->lists[] = $list = array_map(static fn (Message $message) => $message->getData(), $messages);
            $at = array_search($failsAt, $list, true);
            if ($failure !== null && $at !== false) {
                throw $failure((int) $at);
            }
        };
    }

    private function failure(Closure $run): Throwable
    {
        try {
            $run();
        } catch (Throwable $e) {
            return $e;
        }
        self::fail('it has to throw');
    }
}
