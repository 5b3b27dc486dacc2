<?php

/**
 * Every public method of a Broker in every state, as docs/broker-states.md lists them: what is allowed works, what is not throws an
 * exception of ours, nothing crashes or waits for ever.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Closure;
use PHPUnit\Framework\Attributes\DataProvider;
use ReflectionClass;
use ReflectionMethod;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class BrokerStatesBrokerTest extends ConsumingTestCase
{
    /** Refused with an exception: state => methods. Everything else works. */
    private const REFUSED = [
        'fresh' => ['ack', 'consume', 'poll', 'seek', '__construct'],
        'subscribed' => ['ack', 'poll', 'seek', '__construct'],
        'subscribed for poll' => ['ack', 'consume', 'seek', '__construct'],
        'consuming' => ['consume', 'poll', '__construct', 'subscribe for poll'],
        'polling' => ['consume', 'poll', '__construct', 'subscribe with a callback'],
        'closed' => ['ack', 'consume', 'poll', 'seek', '__construct'],
    ];

    /**
     * @return array<string, Closure(Broker, Message, string): mixed>
     */
    private static function calls(): array
    {
        return [
            '__construct' => static fn (Broker $b) => $b->__construct(['brokers' => 'embedded']),
            'publish' => static fn (Broker $b, Message $m) => $b->publish('out', Message::event('out', 'e')),
            'repeats' => static fn (Broker $b, Message $m) => $b->repeats('out', $m),
            'publishBatch' => static fn (Broker $b) => $b->publishBatch([['out', 'e']], 5000),
            'send' => static fn (Broker $b, Message $m, string $topic) => $b->send("$topic.out", 'x'),
            'subscribe with a callback' => static fn (Broker $b) => $b->subscribe('user.2', static fn () => null),
            'subscribe for poll' => static fn (Broker $b) => $b->subscribe('user.3'),
            'subscribeBatch' => static fn (Broker $b) => $b->subscribeBatch('user.4', static fn () => null),
            'subscribeTopic' => static fn (Broker $b, Message $m, string $topic) => $b->subscribeTopic("$topic.4", static fn () => null),
            'unsubscribe' => static fn (Broker $b) => $b->unsubscribe('user.9'),
            'consume' => static fn (Broker $b) => $b->consume(100, 100, 0, true),
            'stopConsuming' => static fn (Broker $b) => $b->stopConsuming(),
            'onAssigned' => static fn (Broker $b) => $b->onAssigned(static fn () => null),
            'onRevoked' => static fn (Broker $b) => $b->onRevoked(static fn () => null),
            'onTick' => static fn (Broker $b) => $b->onTick(static fn () => null),
            'onFailed' => static fn (Broker $b) => $b->onFailed(static fn () => null),
            'retryWith' => static fn (Broker $b) => $b->retryWith(null),
            'pause' => static fn (Broker $b) => $b->pause(),
            'resume' => static fn (Broker $b) => $b->resume(),
            'seek' => static fn (Broker $b, Message $m) => $b->seek((string) $m->getTopic(), (int) $m->getPartition(), 'end'),
            'poll' => static fn (Broker $b) => $b->poll(100),
            'ack' => static fn (Broker $b, Message $m) => $b->ack($m),
            'nack' => static fn (Broker $b, Message $m) => $b->nack($m),
            'stats' => static fn (Broker $b) => $b->stats(),
            'close' => static fn (Broker $b) => $b->close(),
        ];
    }

    public function testEveryPublicMethodIsInTheTable(): void
    {
        $tested = array_unique(array_map(static fn (string $name) => explode(' ', $name)[0], array_keys(self::calls())));
        $methods = array_map(
            static fn (ReflectionMethod $method) => $method->name,
            (new ReflectionClass(Broker::class))->getMethods(ReflectionMethod::IS_PUBLIC),
        );
        sort($tested);
        sort($methods);
        self::assertSame($methods, $tested);
    }

    /**
     * @return array<string, array{string, string}>
     */
    public static function outside(): array
    {
        $cases = [];
        foreach (['fresh', 'subscribed', 'subscribed for poll', 'closed'] as $state) {
            foreach (array_keys(self::calls()) as $name) {
                $cases["$state: $name"] = [$state, $name];
            }
        }

        return $cases;
    }

    /** @dataProvider outside */
    #[DataProvider('outside')]
    public function testOutsideOfConsuming(string $state, string $name): void
    {
        $broker = $this->broker();
        if ($state === 'subscribed' || $state === 'closed') {
            $broker->subscribe('user.1', static fn () => null);
        } elseif ($state === 'subscribed for poll') {
            $broker->subscribe('user.1');
        }
        if ($state === 'closed') {
            $broker->close();
        }
        $pull = $state === 'subscribed for poll';
        $mixes = match ($name) {
            'subscribe with a callback', 'subscribeBatch', 'subscribeTopic' => $pull,
            'subscribe for poll' => $state === 'subscribed' || $state === 'closed',
            default => false,
        };
        $this->call($broker, $name, $this->received(), $mixes || in_array($name, self::REFUSED[$state], true));
    }

    /**
     * @return array<string, array{string, string}>
     */
    public static function inside(): array
    {
        $cases = [];
        foreach (['callback', 'list callback', 'onTick', 'onAssigned', 'onFailed', 'signal', 'destructor', 'Fiber'] as $where) {
            foreach (array_keys(self::calls()) as $name) {
                $cases["$where: $name"] = [$where, $name];
            }
        }

        return $cases;
    }

    /** @dataProvider inside */
    #[DataProvider('inside')]
    public function testWhileConsuming(string $where, string $name): void
    {
        $message = $this->received();
        $broker = $this->broker(['max_retries' => 0]);
        $done = false;
        $try = function () use ($broker, $name, $message, &$done): void {
            if (!$done) {
                $done = true;
                $refused = in_array($name, self::REFUSED['consuming'], true);
                // A seek needs the partition to be assigned, which it is not in onAssigned() of another.
                $this->call($broker, $name, $message, $name === 'seek' || $name === 'ack' ? null : $refused);
            }
            $broker->stopConsuming();
        };
        $this->publish('user.1', [1]);
        $callback = match ($where) {
            'callback' => static fn () => $try(),
            'onFailed' => static fn () => throw new \DomainException('fails'),
            'signal' => static function () use ($try): void {
                pcntl_async_signals(true);
                pcntl_signal(SIGUSR1, static fn () => $try());
                posix_kill(posix_getpid(), SIGUSR1);
            },
            'destructor' => static function () use ($try): void {
                $object = new class ($try) {
                    public function __construct(private Closure $try)
                    {
                    }

                    public function __destruct()
                    {
                        ($this->try)();
                    }
                };
                unset($object);
            },
            'Fiber' => static function () use ($try): void {
                (new \Fiber($try))->start();
            },
            default => static fn () => null,
        };
        if ($where === 'list callback') {
            $broker->subscribeBatch('user.1', static fn () => $try());
        } else {
            $broker->subscribe('user.1', $callback);
        }
        match ($where) {
            'onTick' => $broker->onTick(static fn () => $try(), 10),
            'onAssigned' => $broker->onAssigned(static fn () => $try()),
            'onFailed' => $broker->onFailed(static fn () => $try()),
            default => null,
        };
        try {
            $broker->consume(200, 100, 1, false);
        } finally {
            pcntl_signal(SIGUSR1, SIG_DFL);
        }
        self::assertTrue($done);
        $broker->close();
    }

    /**
     * @return array<string, array{string, string}>
     */
    public static function whilePolling(): array
    {
        $cases = [];
        foreach (array_keys(self::calls()) as $name) {
            $cases["onAssigned: $name"] = ['onAssigned', $name];
        }
        // A signal takes a second to arrive.
        foreach (['close', 'consume', 'poll', 'unsubscribe', 'stats'] as $name) {
            $cases["signal: $name"] = ['signal', $name];
        }

        return $cases;
    }

    /** @dataProvider whilePolling */
    #[DataProvider('whilePolling')]
    public function testWhilePolling(string $where, string $name): void
    {
        $message = $this->received();
        $this->createTopic($this->channelTopic('user.1'), 1);
        $broker = $this->broker()->subscribe('user.1');
        $done = false;
        $try = function () use ($broker, $name, $message, &$done): void {
            if (!$done) {
                $done = true;
                $mixes = in_array($name, ['subscribe with a callback', 'subscribeBatch', 'subscribeTopic'], true);
                $refused = $mixes || in_array($name, self::REFUSED['polling'], true);
                $this->call($broker, $name, $message, $name === 'seek' || $name === 'ack' ? null : $refused);
            }
        };
        if ($where === 'onAssigned') {
            $broker->onAssigned(static fn () => $try());
            $until = microtime(true) + 15;
            do {
                $polled = $broker->poll(200);
                self::assertNull($polled);
            } while (!$done && microtime(true) < $until);
        } else {
            pcntl_async_signals(true);
            pcntl_signal(SIGALRM, static fn () => $try());
            pcntl_alarm(1);
            $started = microtime(true);
            try {
                self::assertNull($broker->poll(1400));
            } finally {
                pcntl_alarm(0);
                pcntl_signal(SIGALRM, SIG_DFL);
            }
            self::assertLessThan($name === 'close' ? 1.38 : 10.0, microtime(true) - $started);
        }
        self::assertTrue($done);
        $broker->close();
    }

    /** A message of another topic of this test, which this broker has not received. */
    private function received(): Message
    {
        static $json = '{"id":"1","type":"event","channel":"x","event":"e","timestamp":1}';

        return Message::fromJson($json);
    }

    /**
     * @param bool|null $refused null: either is right
     */
    private function call(Broker $broker, string $name, Message $message, ?bool $refused): void
    {
        // ack() and nack() of a message that was never received are refused in every state.
        $refused = in_array($name, ['ack', 'nack'], true) ? true : $refused;
        try {
            self::calls()[$name]($broker, $message, $this->topic());
            self::assertNotSame(true, $refused, "$name() was accepted.");
        } catch (RealtimeException | \Error $e) {
            self::assertStringNotContainsStringIgnoringCase('panic', $e->getMessage());
            self::assertNotSame(false, $refused, "$name(): " . $e::class . ': ' . $e->getMessage());
        }
    }
}
