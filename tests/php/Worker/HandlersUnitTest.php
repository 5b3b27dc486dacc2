<?php

/**
 * The handler of a message: --handler, realtime.handlers by event, the host's handler, or none and the message is
 * printed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use RuntimeException;
use stdClass;
use Throwable;
use Toporia\Realtime\Console\Container;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\HandlerResolver;
use Toporia\Realtime\Worker\ConsumeReporter;
use Toporia\Realtime\Worker\UsageError;

final class HandlersUnitTest extends TestCase
{
    private FakeTerminal $terminal;

    protected function setUp(): void
    {
        $this->terminal = new FakeTerminal();
        SampleHandler::$log = [];
        SampleHandler::$throw = null;
        SampleHandler::$made = 0;
    }

    public function testTheHandlerOptionHandlesEveryMessage(): void
    {
        $resolver = $this->resolver(['handlers' => ['order.*' => stdClass::class]]);
        $call = $this->resolve($resolver, '\\' . SampleHandler::class);
        $call($this->message('order.paid'));
        $call($this->message('user.created'));
        self::assertSame(['handle order.paid', 'handle user.created'], SampleHandler::$log);
        self::assertSame(1, SampleHandler::$made, 'made once');
        self::assertSame('handled by ' . SampleHandler::class, $resolver->describe(SampleHandler::class));
    }

    public function testAHandlerIsRecreatedAfterItsLifetime(): void
    {
        $call = $this->resolve($this->resolver([], null, 0), SampleHandler::class);
        $made = SampleHandler::$made;
        $call($this->message('a'));
        $call($this->message('b'));
        self::assertSame($made + 2, SampleHandler::$made, 'a new object for every message');

        SampleHandler::$made = 0;
        $call = $this->resolve($this->resolver(['handlers' => ['**' => SampleHandler::class]], null, 1));
        $call($this->message('a'));
        $call($this->message('b'));
        self::assertSame(1, SampleHandler::$made);
        usleep(1_050_000);
        $call($this->message('c'));
        self::assertSame(2, SampleHandler::$made, 'created again after one second');
    }

    public function testRenewedHandlersAreCreatedAgainForTheNextMessage(): void
    {
        $resolver = $this->resolver(['handlers' => ['**' => SampleHandler::class]]);
        $call = $this->resolve($resolver);
        $made = SampleHandler::$made;
        $call($this->message('a'));
        $call($this->message('b'));
        self::assertSame($made + 1, SampleHandler::$made);
        $resolver->renew();
        $resolver->failed($this->message('b'), new RuntimeException('no'));
        self::assertSame($made + 1, SampleHandler::$made, 'the handler that failed is told');
        $call($this->message('c'));
        $call($this->message('d'));
        self::assertSame($made + 2, SampleHandler::$made);
    }

    public function testTheMiddlewareRunsBeforeTheHandlerIsCreated(): void
    {
        $log = [];
        $make = static function (string $class) use (&$log): object {
            $log[] = "new $class";

            return new $class();
        };
        $layer = static function (Message $message, callable $next) use (&$log): void {
            $log[] = "before {$message->getEvent()}";
            $next($message);
        };
        $resolver = new HandlerResolver(['handlers' => ['**' => SampleHandler::class], 'middleware' => [$layer]], $make, null, 0);
        $call = $this->resolve($resolver);
        $call($this->message('a'));
        $call($this->message('b'));
        self::assertSame(['before a', 'new ' . SampleHandler::class, 'before b', 'new ' . SampleHandler::class], $log);
    }

    public function testAHandlerThatCannotBeRecreatedFailsWithTheCause(): void
    {
        $failing = false;
        $make = static function (string $class) use (&$failing): object {
            return $failing ? throw new ConfigurationException('wrapped', 0, new RuntimeException('database is down')) : new $class();
        };
        $resolver = new HandlerResolver(['handlers' => ['**' => SampleHandler::class]], $make, null, 0);
        $call = $this->resolve($resolver);
        $call($this->message('a'));
        $failing = true;
        $this->expectException(RuntimeException::class);
        $this->expectExceptionMessage('database is down');
        $call($this->message('b'));
    }

    public function testHandlersAreChosenByEvent(): void
    {
        $log = [];
        $name = static function (string $name) use (&$log): \Closure {
            return static function (Message $message) use ($name, &$log): void {
                $log[] = "$name {$message->getEvent()}";
            };
        };
        $resolver = $this->resolver(['handlers' => [
            'order.**' => $name('all'),
            'order.*' => $name('one'),
            'order.paid' => $name('exact'),
            'user.*' => SampleHandler::class,
            '404' => $name('digits'),
        ]]);
        $call = $this->resolve($resolver);
        foreach (['order.paid', 'order.created', 'order.7.paid', 'user.created', '404', 'order.paid'] as $event) {
            $call($this->message($event));
        }
        self::assertSame(
            ['exact order.paid', 'all order.created', 'all order.7.paid', 'digits 404', 'exact order.paid'],
            $log
        );
        self::assertSame(['handle user.created'], SampleHandler::$log);
        self::assertSame(0, $resolver->unhandled);
        self::assertStringContainsString('order.**, order.*', $resolver->describe(null));
    }

    public function testAnUnhandledEventIsCountedAndReportedOnce(): void
    {
        $resolver = $this->resolver(['handlers' => ['order.*' => SampleHandler::class]]);
        $call = $this->resolve($resolver);
        for ($i = 0; $i < 3; $i++) {
            $call($this->message("user.\e[31m"));
        }
        self::assertSame(3, $resolver->unhandled);
        self::assertCount(1, $this->terminal->lines);
        self::assertStringContainsString("no handler for event 'user.\\u001b[31m'", $this->terminal->lines[0]);
    }

    public function testUnknownEventNamesDoNotAccumulate(): void
    {
        $call = $this->resolve($this->resolver(['handlers' => ['order.*' => SampleHandler::class]]));
        for ($i = 0; $i < 2500; $i++) {
            $call($this->message("event-$i"));
        }
        self::assertCount(100, $this->terminal->lines);
    }

    public function testWithoutHandlersTheHostsHandlerGetsIt(): void
    {
        $got = [];
        $resolver = $this->resolver([], static function (Message $message) use (&$got): void {
            $got[] = $message->getEvent();
        });
        $this->resolve($resolver)($this->message('order.paid'));
        self::assertSame(['order.paid'], $got);
        self::assertSame('broadcast by the framework', $resolver->describe(null));
    }

    public function testWithoutAnyHandlerItIsPrintedWithANotice(): void
    {
        $resolver = $this->resolver([]);
        $this->resolve($resolver)(Message::event('user.1', 'order.paid', ['id' => 7, 'name' => "Lê\e"]));
        self::assertStringEndsWith('user.1  order.paid  {"id":7,"name":"Lê\u001b"}', $this->terminal->lines[0]);
        self::assertStringContainsString('printed', $resolver->describe(null));
    }

    public function testAHandlersExceptionPropagatesAndFailedIsCalledAtTheEnd(): void
    {
        SampleHandler::$throw = new RuntimeException('no stock');
        $byEvent = ['handlers' => ['order.*' => SampleHandler::class]];
        foreach ([[[], SampleHandler::class], [$byEvent, null]] as [$config, $class]) {
            SampleHandler::$log = [];
            $resolver = $this->resolver($config);
            $call = $this->resolve($resolver, $class);
            try {
                $call($this->message('order.paid'));
                self::fail('Nothing was thrown.');
            } catch (RuntimeException $e) {
                self::assertSame(SampleHandler::$throw, $e);
            }
            self::assertSame(['handle order.paid'], SampleHandler::$log, 'there are other tries');
            $resolver->failed($this->message('order.paid'), $e);
            $resolver->failed($this->message('other'), new RuntimeException('nobody handles it'));
            self::assertSame(
                ['handle order.paid', 'failed order.paid: no stock'],
                array_slice(SampleHandler::$log, 0, 2)
            );
        }
        self::assertCount(2, SampleHandler::$log, 'only the handler of its event is called');
    }

    public function testAnExceptionInFailedIsNotLost(): void
    {
        $log = ini_set('error_log', (string) tempnam(sys_get_temp_dir(), 'log'));
        $handler = new class {
            public function handle(Message $message): void
            {
            }

            public function failed(Message $message, Throwable $e): void
            {
                throw new RuntimeException('second');
            }
        };
        try {
            $resolver = $this->resolver(['handlers' => ['**' => $handler]]);
            $this->resolve($resolver);
            $resolver->failed($this->message('a'), new RuntimeException('first'));
            self::assertStringContainsString('second', (string) file_get_contents((string) ini_get('error_log')));
        } finally {
            unlink((string) ini_get('error_log'));
            ini_set('error_log', (string) $log);
        }
    }

    public function testMiddlewareWrapsEachCall(): void
    {
        $log = [];
        $layer = static function (string $name) use (&$log): \Closure {
            return static function (Message $message, callable $next) use ($name, &$log): void {
                $log[] = "$name in";
                $next($message);
                $log[] = "$name out";
            };
        };
        $resolver = $this->resolver(['middleware' => [$layer('a'), SampleMiddleware::class, $layer('b')]]);
        $this->resolve($resolver, SampleHandler::class)($this->message('order.paid'));
        self::assertSame(['a in', 'b in', 'b out', 'a out'], $log);
        self::assertSame(['before order.paid', 'handle order.paid', 'after order.paid'], SampleHandler::$log);
    }

    public function testMiddlewareMayHandleTheMessageItself(): void
    {
        $resolver = $this->resolver(['middleware' => [static fn () => null]]);
        $this->resolve($resolver)($this->message('order.paid'));
        self::assertSame([], $this->terminal->lines);
    }

    public function testAnInvalidHandlerOptionIsWrongUsage(): void
    {
        foreach (
            [
                'App\NoSuchHandler' => "--handler: class 'App\\NoSuchHandler'",
                stdClass::class => '--handler: stdClass has no public method handle(Message $message): void',
                HandlerWithPrivateHandle::class => 'has no public method handle',
                HandlerThatCannotBeMade::class => 'the parameter $dsn (string) of its constructor has no default',
            ] as $class => $text
        ) {
            try {
                $this->resolve($this->resolver([]), $class);
                self::fail("Nothing was thrown for $class.");
            } catch (UsageError $e) {
                self::assertStringContainsString($text, $e->getMessage());
            }
        }
    }

    /**
     * @dataProvider wrongConfigurations
     *
     * @param array<string, mixed> $config
     */
    #[DataProvider('wrongConfigurations')]
    public function testInvalidConfigurationIsNamed(array $config, string $text): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage($text);
        $this->resolve($this->resolver($config));
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function wrongConfigurations(): array
    {
        return [
            'no list of handlers' => [['handlers' => 'App\H'], 'realtime.handlers is a string; it must be an array'],
            'no such handler' => [['handlers' => ['a' => 'App\No']], "realtime.handlers['a']: class"],
            'no handle()' => [['handlers' => ['a' => stdClass::class]], "realtime.handlers['a']: stdClass has no"],
            'a number' => [['handlers' => ['a' => 5]], "realtime.handlers['a']: class '5' not found"],
            'no list of middleware' => [['middleware' => 'x'], 'realtime.middleware is a string'],
            'no such middleware' => [['middleware' => ['App\No']], "realtime.middleware[0]: 'App\\No' is not an existing class"],
            'middleware without handle()' => [['middleware' => [new stdClass()]], 'middleware[0]: stdClass has no'],
        ];
    }

    /** @param array<string, mixed> $config */
    private function resolver(array $config, ?\Closure $host = null, ?int $lifetime = null): HandlerResolver
    {
        $container = new Container();
        $renew = static function (string $class) use ($container): object {
            $container->forgetInstances();

            return $container->get($class);
        };

        return new HandlerResolver($config, $container->get(...), $host, $lifetime, $renew);
    }

    private function resolve(HandlerResolver $resolver, ?string $class = null): callable
    {
        return $resolver->resolve($class, new ConsumeReporter($this->terminal));
    }

    private function message(string $event): Message
    {
        return Message::event('user.1', $event);
    }
}
