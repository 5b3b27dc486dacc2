<?php

/**
 * Return values of callbacks in the PHP layer: generators are run, promises are refused, wherever a callback is given.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use Closure;
use Generator;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Idempotency\Idempotency;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Support\ReturnValue;
use Toporia\Realtime\Tests\Idempotency\RecordingStore;
use Toporia\Realtime\Tests\Worker\FakeTerminal;
use Toporia\Realtime\Tracing\Tracing;
use Toporia\Realtime\Worker\HandlerResolver;
use Toporia\Realtime\Worker\ConsumeReporter;

final class ReturnValueUnitTest extends TestCase
{
    /** @var list<string> */
    private array $log = [];

    protected function tearDown(): void
    {
        Realtime::restore();
    }

    public function testAGeneratorIsRunToItsEnd(): void
    {
        self::assertSame('result', ReturnValue::complete($this->steps()));
        self::assertSame(['begun', 'done'], $this->log);
        self::assertSame(7, ReturnValue::complete(7));
        self::assertNull(ReturnValue::complete(null));
    }

    /**
     * @return array<string, array{Closure(self, callable): void}> each calls the callback
     */
    public static function places(): array
    {
        $message = Message::event('user.1', 'e');
        $resolve = static fn (array $config): callable =>
            (new HandlerResolver($config, static fn () => null))->resolve(null, new ConsumeReporter(new FakeTerminal()));
        $handler = static fn (callable $call): object => new class (Closure::fromCallable($call)) {
            public function __construct(private Closure $call)
            {
            }

            public function handle(Message $message): mixed
            {
                return ($this->call)($message);
            }
        };

        return [
            'a handler' => [static fn (self $t, callable $call) => $resolve(['handlers' => ['**' => $handler($call)]])($message)],
            'a closure as handler' => [static fn (self $t, callable $call) => $resolve(
                ['handlers' => ['**' => Closure::fromCallable($call)]]
            )($message)],
            'a middleware' => [static fn (self $t, callable $call) => $resolve(
                ['handlers' => ['**' => $handler(static fn () => null)], 'middleware' => [Closure::fromCallable($call)]]
            )($message)],
            'a handler below a middleware' => [static fn (self $t, callable $call) => $resolve([
                'handlers' => ['**' => $handler($call)],
                'middleware' => [static function (Message $message, callable $next) use ($t): void {
                    $next($message);
                    $t->log[] = 'after';
                }],
            ])($message)],
            'once()' => [static fn (self $t, callable $call) => (new Idempotency(new RecordingStore(), 'test'))
                ->once($message, static fn () => $call($message))],
            'an idempotent callback' => [static fn (self $t, callable $call) =>
                (new Idempotency(new RecordingStore(), 'test'))->wrap($call)($message)],
            'an idempotent batch' => [static fn (self $t, callable $call) =>
                (new Idempotency(new RecordingStore(), 'test'))->wrap($call)([$message])],
            'Tracing' => [static fn (self $t, callable $call) => Tracing::handle($message, static fn () => $call($message))],
            'a fake' => [static function (self $t, callable $call): void {
                $fake = Realtime::fake();
                $fake->receive('user.1', 'e');
                $fake->subscribe('user.1', $call)->consume();
            }],
        ];
    }

    /**
     * @param Closure(self, callable): void $call
     *
     * @dataProvider places
     */
    #[DataProvider('places')]
    public function testWhereverItIsGiven(Closure $call): void
    {
        $call($this, fn () => $this->steps());
        self::assertSame(['begun', 'done'], array_slice($this->log, 0, 2));
        $own = new class () {
            public function then(?callable $done = null, ?callable $failed = null): static
            {
                return $this;
            }
        };
        try {
            $call($this, static fn () => $own);
            self::fail('The promise was ignored.');
        } catch (ConfigurationException $e) {
            self::assertStringContainsString('a promise (it has then()), which is not waited for', $e->getMessage());
        }
    }

    /** @return Generator<int, string, mixed, string> */
    private function steps(): Generator
    {
        $this->log[] = 'begun';
        yield 'between';
        $this->log[] = 'done';

        return 'result';
    }
}
