<?php

/**
 * A consumer that starts before its topic exists: no message is lost, and the topic is found quickly.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Closure;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;

final class TopicCreatedLaterBrokerTest extends ConsumingTestCase
{
    public function testANewGroupReadsFromTheBeginning(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        self::assertSame([1, 2, 3], $this->rest('user.1'));
    }

    public function testLatestReadsOnlyLaterRecords(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $seen = [];
        $broker = $this->broker(['consumer_config' => ['auto.offset.reset' => 'latest']]);
        $broker->subscribe('user.1', static function (Message $message) use (&$seen): void {
            $seen[] = $message->getData();
        });
        self::assertSame(0, $this->drain($broker));
        $this->publish('user.1', [4]);
        self::within(15.0, $broker)->consume(maxMessages: 1);
        self::assertSame([4], $seen);
    }

    /** @dataProvider resets */
    #[DataProvider('resets')]
    public function testATopicThatAppearsAfterSubscribingIsReadFromItsBeginning(
        string $reset,
        string $channel,
        float $within
    ): void {
        $seen = [];
        $waited = null;
        $appeared = null;
        $broker = $this->broker(['consumer_config' => ['auto.offset.reset' => $reset]]);
        $broker->subscribe($channel, static function (Message $message) use (&$seen): void {
            $seen[] = $message->getData();
        });
        $start = microtime(true);
        $broker->onTick($this->after(0.7, function () use ($broker, &$waited, &$appeared): void {
            $waited = $broker->stats()['waiting_for'];
            $this->publish('user.1', range(1, 20));
            $appeared = microtime(true);
        }, $start, 20.0), 50);
        self::assertSame(20, $broker->consume(maxMessages: 20));
        self::assertSame(range(1, 20), $seen, 'nothing lost');
        self::assertLessThan($within, microtime(true) - $appeared);
        self::assertSame(str_contains($channel, '*') ? [] : [$this->channelTopic('user.1')], $waited);
        self::assertSame([], $broker->stats()['waiting_for']);
    }

    /** @return array<string, array{string, string, float}> */
    public static function resets(): array
    {
        // Missing topics are looked up every second, patterns every five seconds.
        return [
            'earliest' => ['earliest', 'user.1', 3.0],
            'latest' => ['latest', 'user.1', 3.0],
            'earliest, by a pattern' => ['earliest', 'user.*', 6.5],
            'latest, by a pattern' => ['latest', 'user.*', 6.5],
        ];
    }

    public function testATopicOfManyIsFoundAsQuickly(): void
    {
        $broker = $this->broker();
        for ($n = 0; $n < 120; $n++) {
            $broker->subscribe("many.$n", static function (): void {
            });
        }
        $appeared = null;
        $broker->onTick($this->after(2.0, function () use (&$appeared): void {
            $this->publish('many.7', [1]);
            $appeared = microtime(true);
        }, microtime(true), 20.0), 50);
        self::assertSame(1, $broker->consume(maxMessages: 1));
        self::assertLessThan(3.0, microtime(true) - $appeared);
    }

    public function testATopicIsFoundAsQuicklyAfterAPatternWasUnsubscribed(): void
    {
        $broker = $this->broker()->subscribe('order.*')->subscribe('user.1');
        self::assertNull($broker->poll(500));
        $broker->unsubscribe('order.*');
        self::assertNull($broker->poll(700));
        $this->publish('user.1', [1]);
        $appeared = microtime(true);
        self::assertNotNull($broker->poll(15_000));
        self::assertLessThan(3.0, microtime(true) - $appeared);
    }

    public function testOtherTopicsAreHandledWhileOneIsMissing(): void
    {
        $this->publish('here', [1]);
        $seen = [];
        $broker = $this->broker();
        $note = static function (Message $message) use (&$seen): void {
            $seen[] = $message->getChannel();
        };
        $broker->subscribe('here', $note)->subscribe('late', $note);
        $waiting = null;
        $start = microtime(true);
        $broker->onTick($this->after(1.5, function () use ($broker, &$waiting): void {
            $waiting = $broker->stats()['waiting_for'];
            $this->publish('late', [1]);
        }, $start, 20.0), 50);
        self::assertSame(2, $broker->consume(maxMessages: 2));
        self::assertSame(['here', 'late'], $seen);
        self::assertSame([$this->channelTopic('late')], $waiting);
    }

    public function testARawTopicThatAppearsLater(): void
    {
        $broker = $this->broker();
        $seen = [];
        $broker->subscribeTopic($this->topic('late'), static function (Message $message) use (&$seen): void {
            $seen[] = $message->getPayload();
        });
        $broker->onTick($this->after(0.5, function (): void {
            $this->send($this->topic('late'), ['a', 'b', 'c']);
        }, microtime(true), 20.0), 50);
        self::assertSame(3, $broker->consume(maxMessages: 3));
        self::assertSame(['a', 'b', 'c'], $seen);
    }

    /** A tick that acts once after this many seconds, and ends consume() after `$limit`. */
    private function after(float $seconds, Closure $act, float $start, float $limit): Closure
    {
        $done = false;

        return static function (Broker $broker) use ($seconds, $act, $start, $limit, &$done): void {
            $elapsed = microtime(true) - $start;
            if (!$done && $elapsed > $seconds) {
                $done = true;
                $act();
            }
            if ($elapsed > $limit) {
                $broker->stopConsuming();
            }
        };
    }
}
