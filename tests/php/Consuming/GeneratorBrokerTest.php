<?php

/**
 * Callbacks that return a generator, which is run to its end, or a promise, which is refused.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Closure;
use DomainException;
use Generator;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

final class GeneratorBrokerTest extends ConsumingTestCase
{
    /** @var list<mixed> */
    private array $done = [];

    /**
     * @return array<string, array{Closure(self, Broker): mixed}>
     */
    public static function ways(): array
    {
        return [
            'subscribe' => [static fn (self $t, Broker $b) => $b->subscribe('user.1', static fn (Message $m) => $t->steps($m->getData()))],
            'subscribe, a method' => [static fn (self $t, Broker $b) => $b->subscribe('user.1', [$t, 'handle'])],
            'subscribe, __invoke' => [static fn (self $t, Broker $b) => $b->subscribe('user.1', new class ($t) {
                public function __construct(private GeneratorBrokerTest $test)
                {
                }

                public function __invoke(Message $message): Generator
                {
                    yield from $this->test->steps($message->getData());
                }
            })],
            'subscribe, __call' => [static fn (self $t, Broker $b) => $b->subscribe('user.1', [new class ($t) {
                public function __construct(private GeneratorBrokerTest $test)
                {
                }

                /** @param list<Message> $arguments */
                public function __call(string $name, array $arguments): Generator
                {
                    return $this->test->steps($arguments[0]->getData());
                }
            }, 'magic'])],
            'subscribeBatch' => [static fn (self $t, Broker $b) => $b->subscribeBatch('user.1', static function (array $list) use ($t) {
                foreach ($list as $message) {
                    yield from $t->steps($message->getData());
                }
            })],
            'subscribeTopic' => [static fn (self $t, Broker $b) => $b->subscribeTopic(
                $t->channelTopic('user.1'),
                static fn (Message $m) => $t->steps($m->getData()['data']),
            )],
            'onTick' => [static fn (self $t, Broker $b) => $b->subscribe('user.1', static fn () => null)->onTick(
                static function (Broker $b) use ($t) {
                    yield 'first';
                    $t->done = [1, 'end of 1', 2, 'end of 2'];
                },
                10,
            )],
            'onAssigned' => [static fn (self $t, Broker $b) => $b->subscribe('user.1', static fn () => null)->onAssigned(
                static function (array $partitions) use ($t) {
                    yield 'first';
                    $t->done = [1, 'end of 1', 2, 'end of 2'];
                },
            )],
        ];
    }

    /**
     * @param Closure(self, Broker): mixed $subscribe
     *
     * @dataProvider ways
     */
    #[DataProvider('ways')]
    public function testAGeneratorIsRunToItsEnd(Closure $subscribe): void
    {
        $this->publish('user.1', [1, 2]);
        $broker = $this->broker(self::AT_ONCE);
        $subscribe($this, $broker);
        self::assertSame(2, $broker->consume(200, 100, 2));
        self::assertSame([1, 'end of 1', 2, 'end of 2'], $this->done);
    }

    public function testAGeneratorThatThrowsFailsItsRecord(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker(self::AT_ONCE)->subscribe('user.1', static function (Message $message) {
            yield 1;
            throw new DomainException('after the first yield');
        });
        try {
            $broker->consume(200, 100, 1);
            self::fail('The record counts as handled.');
        } catch (DomainException $e) {
            self::assertSame('after the first yield', $e->getMessage());
        }
        self::assertSame(0, $broker->stats()['handled']);
    }

    public function testTheReturnValueOfAGeneratorStopsAdminRead(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $read = 0;
        (new Admin($this->config()))->read($this->channelTopic('user.1'), static function () use (&$read): Generator {
            yield;

            return ++$read < 2;
        });
        self::assertSame(2, $read);
    }

    /**
     * @return array<string, array{string, string}> source of a callback, what the exception says
     */
    public static function unfinished(): array
    {
        $react = 'new class implements \React\Promise\PromiseInterface { public function __call($n, $a) { return $this; } }';
        $own = 'new class { public function then(?callable $ok = null, ?callable $failed = null) { return $this; } }';

        return [
            'a promise' => ["static fn () => $react", 'returned React\Promise\PromiseInterface@anonymous, a promise'],
            'of an unknown library' => ["static fn () => $own", 'a promise (it has then())'],
            'a coroutine' => ["static function () { yield 1; yield $react; }", 'yielded React\Promise\PromiseInterface@'],
            'returned by a generator' => ["static function () { yield 1; return $own; }", 'returned class@anonymous'],
            'a Fiber' => ['static fn () => new \Fiber(static fn () => 1)', 'returned Fiber, a Fiber that has not ended'],
            'refused by the PHP layer' => [
                "static fn () => \\Toporia\\Realtime\\Support\\ReturnValue::complete($react)",
                'returned React\Promise\PromiseInterface@anonymous, a promise',
            ],
        ];
    }

    /** @dataProvider unfinished */
    #[DataProvider('unfinished')]
    public function testUnfinishedWorkIsRefusedByName(string $callback, string $message): void
    {
        if (!interface_exists('React\Promise\PromiseInterface')) {
            eval('namespace React\Promise; interface PromiseInterface {}');
        }
        $this->publish('user.1', [1]);
        $broker = $this->broker(['max_retries' => 2])->subscribe('user.1', eval("return $callback;"));
        try {
            $broker->consume(200, 100, 1);
            self::fail('The promise was ignored.');
        } catch (ConfigurationException $e) {
            self::assertStringContainsString($message, $e->getMessage());
        }
        self::assertSame(0, $broker->stats()['handled']);
        self::assertSame(0, $broker->stats()['dead_lettered']);
        $broker->close();
        self::assertSame([1], $this->rest('user.1'));
    }

    public function testAGeneratorThatReturnsAGeneratorIsRunToItsEndToo(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker(self::AT_ONCE)->subscribe('user.1', function (Message $message) {
            yield 1;

            return $this->steps($message->getData());
        });
        self::assertSame(1, $broker->consume(200, 100, 1));
        self::assertSame([1, 'end of 1'], $this->done);
    }

    /**
     * @return array<string, array{string}> return values that are not waited for anywhere
     */
    public static function finished(): array
    {
        return [
            'an ended Fiber' => ['$fiber = new \Fiber(static fn () => 1); $fiber->start(); return $fiber;'],
            'then() with one parameter' => ['return new class { public function then($callback) {} };'],
            'a private then()' => ['return new class { private function then($a, $b) {} };'],
            'a static then()' => ['return new class { public static function then($a, $b) {} };'],
            'a collection' => ['return new \ArrayIterator([1]);'],
        ];
    }

    /** @dataProvider finished */
    #[DataProvider('finished')]
    public function testOtherReturnValuesMeanNothing(string $code): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker(self::AT_ONCE)->subscribe('user.1', eval("return static function () { $code };"));
        self::assertSame(1, $broker->consume(200, 100, 1));
    }

    public function handle(Message $message): Generator
    {
        return $this->steps($message->getData());
    }

    /**
     * @return Generator<int, int>
     */
    public function steps(mixed $data): Generator
    {
        yield 1;
        $this->done[] = $data;
        yield 2;
        $this->done[] = "end of $data";
    }
}
