<?php

/**
 * The trait that gives users' tests an embedded broker: delivered messages, failures, retries.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Testing;

use PHPUnit\Framework\TestCase;
use RuntimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Testing\UsesEmbeddedBroker;

final class EmbeddedBrokerTraitEmbeddedTest extends TestCase
{
    use UsesEmbeddedBroker;

    public function testAHandlerGetsEachPublishedMessageOnce(): void
    {
        $handler = new class {
            /** @var list<string> */
            public array $seen = [];

            public function handle(Message $message): void
            {
                $this->seen[] = $message->getEvent() . ' ' . json_encode($message->getData());
            }
        };
        $given = $this->publishAndConsume('user.1', 'order.paid', ['id' => 7], $handler);
        self::assertCount(1, $given);
        self::assertSame('user.1', $given[0]->getChannel());
        self::assertNotNull($given[0]->getTopic(), 'It came from a broker.');

        $this->publishAndConsume('user.1', 'order.sent', ['id' => 8], $handler);
        self::assertSame(['order.paid {"id":7}', 'order.sent {"id":8}'], $handler->seen);
    }

    public function testAHandlersExceptionIsThrownAndItsMessageDeliveredAgain(): void
    {
        $tries = 0;
        $handler = static function () use (&$tries): void {
            if (++$tries === 1) {
                throw new RuntimeException('no stock');
            }
        };
        try {
            $this->publishAndConsume('user.1', 'order.paid', null, $handler);
            self::fail('The failure was swallowed.');
        } catch (RuntimeException $e) {
            self::assertSame('no stock', $e->getMessage());
        }
        $this->consumeAll('user.1', $handler);
        self::assertSame(2, $tries);
        $this->publishAndConsume('user.1', 'again', null, $handler, ['max_retries' => 1]);
        self::assertSame(3, $tries);
    }

    public function testBroadcastsOfAHandlerCanBeConsumedInTurn(): void
    {
        $this->publishAndConsume('orders', 'order.created', ['id' => 1], static function (Message $message): void {
            Realtime::broadcast('payments', 'payment.due', $message->getData());
        });
        $events = [];
        $this->consumeAll('payments', static function (Message $message) use (&$events): void {
            $events[] = $message->getEvent();
        });
        self::assertSame(['payment.due'], $events);
    }

    public function testTheBrokerCanFail(): void
    {
        $this->embeddedBroker()->down();
        Realtime::broadcast('user.1', 'while.down');
        $this->embeddedBroker()->up();
        self::assertCount(1, $this->consumeAll('user.1', static fn (): int => 0));
    }
}
