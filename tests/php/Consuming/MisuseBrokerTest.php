<?php

/**
 * Calls that consume() and poll() refuse, each with an error that names the alternative.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;

final class MisuseBrokerTest extends ConsumingTestCase
{
    public function testTheErrorOfAHookThatIsNotCallableNamesItsArgument(): void
    {
        foreach (['onAssigned', 'onRevoked', 'onTick', 'onFailed'] as $method) {
            try {
                (new \ReflectionMethod(Broker::class, $method))->invoke($this->broker(), 'no such function');
                self::fail("$method() accepted a text that is not callable.");
            } catch (\TypeError $e) {
                self::assertSame(
                    "Toporia\\Realtime\\Broker::$method(): Argument #1 (\$callback) must be of type callable, string given",
                    $e->getMessage(),
                );
            }
        }
    }

    public function testConsumeWithoutASubscription(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('subscribe()');
        $this->broker()->consume();
    }

    public function testPollWithoutASubscription(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('subscribe()');
        $this->broker()->poll(0);
    }

    public function testPollOfABrokerWithCallbacks(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('consume()');
        $this->broker()->subscribe('user.1', static fn () => null)->poll(0);
    }

    public function testConsumeOfABrokerToPoll(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('poll()');
        $this->broker()->subscribe('user.1')->consume();
    }

    public function testCallbacksAndPollDoNotMix(): void
    {
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        try {
            $broker->subscribe('user.2');
            self::fail('Both were taken.');
        } catch (ConfigurationException $e) {
            self::assertStringContainsString('user.1', $e->getMessage());
            self::assertStringContainsString('user.2', $e->getMessage());
        }
        $this->expectException(ConfigurationException::class);
        $this->broker()->subscribeTopic('topic')->subscribeBatch('user.1', static fn () => null);
    }

    public function testConsumeInsideItsOwnCallback(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker();
        $errors = [];
        $broker->subscribe('user.1', static function () use ($broker, &$errors): void {
            foreach (['consume', 'poll'] as $method) {
                try {
                    $broker->$method();
                } catch (ConfigurationException $e) {
                    $errors[] = $e->getMessage();
                }
            }
        });
        self::assertSame(1, $this->drain($broker));
        self::assertCount(2, $errors);
        self::assertStringContainsString('second Broker', $errors[0]);
    }

    public function testAnotherBrokerInsideACallback(): void
    {
        $this->publish('outer', [1, 2]);
        $this->publish('inner', ['a', 'b', 'c']);
        $seen = [];
        $outer = $this->broker();
        $outer->subscribe('outer', function (Message $message) use (&$seen): void {
            $seen[] = $message->getData();
            $inner = $this->broker(['consumer_group' => "$this->group-inner"]);
            $inner->subscribe('inner', static function (Message $message) use (&$seen): void {
                $seen[] = $message->getData();
            });
            self::assertSame($message->getData() === 1 ? 3 : 0, $this->drain($inner));
            $inner->close();
        });
        self::assertSame(2, $this->drain($outer));
        self::assertSame([1, 'a', 'b', 'c', 2], $seen);
    }

    public function testPollOfAnotherBrokerInsideACallback(): void
    {
        $this->publish('outer', [1]);
        $this->publish('inner', ['a']);
        $seen = null;
        $outer = $this->broker()->subscribe('outer', function () use (&$seen): void {
            $inner = $this->broker(['consumer_group' => "$this->group-inner"])->subscribe('inner');
            $message = $inner->poll(10_000);
            self::assertNotNull($message);
            $seen = $message->getData();
            $inner->ack($message);
        });
        self::assertSame(1, $this->drain($outer));
        self::assertSame('a', $seen);
    }

    /** @dataProvider deliveries */
    #[DataProvider('deliveries')]
    public function testPollWaitsForAckSoOtherDeliveriesAreRefused(string $delivery): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('at-least-once');
        $this->broker(['delivery' => $delivery])->subscribe('user.1')->poll(0);
    }

    /** @return array<string, array{string}> */
    public static function deliveries(): array
    {
        return ['at-most-once' => ['at-most-once'], 'exactly-once' => ['exactly-once']];
    }

    public function testAtLeastOnceMayBeConfiguredExplicitly(): void
    {
        $this->publish('user.1', [1]);
        $broker = $this->broker(['delivery' => 'at-least-once'])->subscribe('user.1', static fn () => null);
        self::assertSame(1, $this->drain($broker));
    }

    /**
     * @dataProvider badArguments
     *
     * @param array<string, int> $arguments
     */
    #[DataProvider('badArguments')]
    public function testBadArgumentsNameTheParameter(array $arguments): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('$' . array_key_first($arguments));
        $this->broker()->subscribe('user.1', static fn () => null)->consume(...$arguments);
    }

    /** @return array<string, array{array<string, int>}> */
    public static function badArguments(): array
    {
        return [
            'timeoutMs' => [['timeoutMs' => -1]],
            'batchSize 0' => [['batchSize' => 0]],
            'batchSize' => [['batchSize' => -5]],
            'maxMessages' => [['maxMessages' => -1]],
        ];
    }

    public function testAClosedBrokerDoesNotConsume(): void
    {
        $broker = $this->broker()->subscribe('user.1', static fn () => null);
        $broker->close();
        $broker->close();
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('closed');
        $broker->consume();
    }

    public function testClosedFromItsOwnCallbackItEndsAfterTheCurrentRecord(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $seen = [];
        $broker = $this->broker();
        $broker->subscribe('user.1', static function (Message $message) use ($broker, &$seen): void {
            $seen[] = $message->getData();
            $broker->close();
        });
        self::assertSame(1, self::within(15.0, $broker)->consume());
        self::assertSame([1], $seen);
        self::assertSame([2, 3], $this->rest('user.1'), 'the handled record is committed, the others are not');
    }

    public function testMessagesThatWereNotPolledCannotBeAcknowledged(): void
    {
        $broker = $this->broker()->subscribe('user.1');
        foreach (['ack', 'nack'] as $method) {
            try {
                $broker->$method(Message::event('user.1', 'e'));
                self::fail("$method() took a message that was never received.");
            } catch (RealtimeException $e) {
                self::assertStringContainsString("$method()", $e->getMessage());
            }
        }
    }

    public function testStatsBeforeConsuming(): void
    {
        $stats = (new Broker($this->config()))->stats();
        self::assertSame(0, $stats['handled']);
        self::assertSame([], $stats['assigned']);
        self::assertSame([], $stats['waiting_for']);
        self::assertSame(-1, $stats['lag']);
        self::assertFalse($stats['connected']);
        self::assertNull($stats['stop_reason']);
        self::assertSame($this->group, $stats['group']);
    }
}
