<?php

/**
 * The wrapper: which messages it passes on, by which key, and the state after a failure.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use RuntimeException;
use Toporia\Realtime\Console\Container;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Exception\Transient;
use Toporia\Realtime\Idempotency\Idempotency;
use Toporia\Realtime\Idempotency\InProgressException;
use Toporia\Realtime\Idempotency\MemoryStore;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\ApplicationObject;
use Toporia\Realtime\Worker\MiddlewarePipeline;

final class IdempotencyUnitTest extends TestCase
{
    /** @var list<mixed> data of the messages that were handled */
    private array $handled = [];

    public function testAMessageIsHandledOnce(): void
    {
        $idempotency = new Idempotency(new MemoryStore(), 'orders');
        $callback = $idempotency->wrap($this->handler());
        $message = $this->message(1);
        $callback($message);
        $callback($this->message(2));
        $callback($message);
        $callback(Message::fromJson($message->toJson()));
        self::assertSame([1, 2], $this->handled);
        self::assertSame(2, $idempotency->skipped());
    }

    public function testScopesAreIndependent(): void
    {
        $store = new MemoryStore();
        $message = $this->message(1);
        foreach (['mails', 'invoices', 'mails'] as $scope) {
            (new Idempotency($store, $scope))->wrap($this->handler())($message);
        }
        self::assertSame([1, 1], $this->handled);
    }

    public function testACustomKey(): void
    {
        $key = static fn (Message $message): int => $message->getData()['payment'];
        $callback = (new Idempotency(new MemoryStore(), 'payments', $key))->wrap($this->handler());
        $callback($this->message(['payment' => 7]));
        $callback($this->message(['payment' => 7, 'again' => true]));
        $callback($this->message(['payment' => 8]));
        self::assertSame([['payment' => 7], ['payment' => 8]], $this->handled);
    }

    /** @dataProvider noKeys */
    #[DataProvider('noKeys')]
    public function testAMessageWithoutAKeyIsAPermanentFailure(mixed $key): void
    {
        $callback = (new Idempotency(new MemoryStore(), 'payments', static fn (): mixed => $key))->wrap($this->handler());
        $message = $this->message(1);
        try {
            $callback($message);
            self::fail('it has to throw');
        } catch (PermanentException $e) {
            self::assertStringContainsString($message->getId(), $e->getMessage());
        }
        self::assertSame([], $this->handled);
    }

    /** @return array<string, array{mixed}> */
    public static function noKeys(): array
    {
        return ['null' => [null], 'empty' => [''], 'array' => [[1]], 'float' => [1.5], 'false' => [false]];
    }

    public function testAnExceptionLeavesNoMark(): void
    {
        $store = new MemoryStore();
        $idempotency = new Idempotency($store, 'orders');
        $message = $this->message(1);
        try {
            $idempotency->wrap(static fn () => throw new RuntimeException('the first try'))($message);
            self::fail('it has to throw');
        } catch (RuntimeException $e) {
            self::assertSame('the first try', $e->getMessage());
        }
        self::assertSame(0, $store->count());
        $idempotency->wrap($this->handler())($message);
        self::assertSame([1], $this->handled);
    }

    public function testOnceWithAKeyReturnsWhetherItRan(): void
    {
        $idempotency = new Idempotency(new MemoryStore(), 'invoices');
        $runs = 0;
        $effect = static function () use (&$runs): void {
            $runs++;
        };
        self::assertTrue($idempotency->once('invoice-7', $effect));
        self::assertFalse($idempotency->once('invoice-7', $effect));
        self::assertTrue($idempotency->once("\0\xff", $effect));
        self::assertTrue($idempotency->once('0', $effect), 'zero is a key');
        self::assertSame(3, $runs);
        $this->expectException(PermanentException::class);
        $idempotency->once('', $effect);
    }

    public function testAsMiddleware(): void
    {
        $make = (new Container())
            ->bind(Idempotency::class, static fn () => new Idempotency(new MemoryStore(), 'orders'))->get(...);
        $pipeline = new MiddlewarePipeline(
            [Idempotency::class],
            static fn (string $class): ApplicationObject => new ApplicationObject($class, $make, null)
        );
        $message = $this->message(1);
        $pipeline->run($message, $this->handler());
        $pipeline->run($message, $this->handler());
        self::assertSame([1], $this->handled);
    }

    public function testACallbackThatIsWrappedTwiceIsRefused(): void
    {
        $idempotency = new Idempotency(new RecordingStore(), 'orders');
        $again = new Idempotency(new RecordingStore(), 'orders');
        $message = $this->message(1);
        try {
            $idempotency->wrap($again->wrap($this->handler()))($message);
            self::fail('it has to throw');
        } catch (ConfigurationException $e) {
            self::assertStringContainsString('wrapped twice', $e->getMessage());
        }
        self::assertSame([], $this->handled);
        $again->wrap($this->handler())($message);
        self::assertSame([1], $this->handled, 'afterwards the key is free');
    }

    public function testAMemoryStoreInFrontOfAnotherStore(): void
    {
        $store = new RecordingStore();
        $inner = (new Idempotency($store, 'orders'))->wrap($this->handler());
        $outer = (new Idempotency(new MemoryStore(), 'orders'))->wrap($inner);
        $message = $this->message(1);
        $outer($message);
        $outer($message);
        self::assertSame([1], $this->handled);
        self::assertCount(1, $store->asked);
    }

    public function testAKeyInProgressIsATransientFailure(): void
    {
        $store = new MemoryStore();
        $this->expectException(InProgressException::class);
        $store->run(['orders:1' => null], static fn () => $store->run(['orders:1' => null], static fn () => null));
    }

    public function testInProgressIsTransient(): void
    {
        $e = new InProgressException('orders:1');
        self::assertInstanceOf(Transient::class, $e);
        self::assertSame('orders:1', $e->getKey());
    }

    public function testTheMemoryStoreExpiresKeys(): void
    {
        $now = 1000;
        $store = new MemoryStore(ttl: 60, clock: static function () use (&$now): int {
            return $now;
        });
        $callback = (new Idempotency($store, 'orders'))->wrap($this->handler());
        $message = $this->message(1);
        $callback($message);
        $now = 1059;
        $callback($message);
        self::assertSame([1], $this->handled);
        $now = 1060;
        $callback($message);
        self::assertSame([1, 1], $this->handled);
    }

    public function testTheMemoryStoreIsBounded(): void
    {
        $store = new MemoryStore(limit: 10);
        $idempotency = new Idempotency($store, 'orders');
        for ($i = 0; $i < 100; $i++) {
            $idempotency->once("k$i", static fn () => null);
        }
        self::assertSame(10, $store->count());
        self::assertFalse($idempotency->once('k90', static fn () => null));
        self::assertTrue($idempotency->once('k89', static fn () => null), 'the oldest went first');
    }

    public function testInvalidNumbers(): void
    {
        foreach ([['ttl' => 0], ['limit' => 0], ['ttl' => -1]] as $bad) {
            try {
                new MemoryStore(...$bad);
                self::fail('refused: ' . json_encode($bad));
            } catch (ConfigurationException $e) {
                self::assertStringContainsString((string) key($bad), $e->getMessage());
            }
        }
    }

    private function message(mixed $data): Message
    {
        return Message::event('order.1', 'order.paid', $data);
    }

    private function handler(): \Closure
    {
        return function (Message $message): void {
            $this->handled[] = $message->getData();
        };
    }
}
