<?php

/**
 * A Message object belongs to its record for as long as anything refers to it; only then is it used for another one.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use ArgumentCountError;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use WeakMap;
use WeakReference;

final class MessageObjectsBrokerTest extends ConsumingTestCase
{
    private const MESSAGES = 12;

    public function testAKeptMessageKeepsItsContent(): void
    {
        $ids = $this->broadcastNumbers();
        $kept = [];
        $this->handle(static function (Message $message, int $n) use (&$kept): void {
            if ($n % 3 !== 0) {
                $kept[$n] = $message;
            }
        });
        self::assertCount(8, $kept);
        foreach ($kept as $n => $message) {
            self::assertSame(
                [$ids[$n], "event$n", ['n' => $n], "header$n"],
                [$message->getId(), $message->getEvent(), $message->getData(), $message->getHeaders()['h']]
            );
        }
    }

    public function testAWeakReferenceNeverLeadsToAnotherMessage(): void
    {
        $this->broadcastNumbers();
        $last = null;
        $alive = [];
        $attributes = new WeakMap();
        $this->handle(static function (Message $message, int $n) use (&$last, &$alive, $attributes): void {
            $alive[] = $last?->get() !== null || isset($attributes[$message]);
            $last = $n % 2 === 0 ? WeakReference::create($message) : null;
            if ($n % 3 === 0) {
                $attributes[$message] = $n;
            }
        });
        self::assertSame(array_fill(0, self::MESSAGES, false), $alive);
        self::assertCount(0, $attributes);
    }

    public function testNothingOfTheRecordBeforeIsLeft(): void
    {
        $this->broadcastNumbers();
        $seen = [];
        $this->handle(static function (Message $message, int $n) use (&$seen): void {
            $data = $message->getData();
            $data['changed'] = true;
            $seen[] = [$message->getData(), count($message->getHeaders()), $message->getOffset()];
        });
        $expected = [];
        for ($n = 0; $n < self::MESSAGES; $n++) {
            $expected[] = [['n' => $n], 1, $n];
        }
        self::assertSame($expected, $seen);
    }

    public function testAGetterRefusesArguments(): void
    {
        $message = Message::event('user.1', 'e', 1);
        foreach (['getEvent', 'getData', 'getId'] as $getter) {
            try {
                $message->$getter(1);
                self::fail("$getter(1)");
            } catch (ArgumentCountError $error) {
                self::assertStringContainsString("$getter() expects exactly 0 arguments, 1 given", $error->getMessage());
            }
        }
        $this->expectException(ArgumentCountError::class);
        // @phpstan-ignore-next-line
        Realtime::broadcast('user.1');
    }

    /**
     * @return list<string> the ids
     */
    private function broadcastNumbers(): array
    {
        $this->createTopic($this->channelTopic('user.1'), 1);
        $ids = [];
        for ($n = 0; $n < self::MESSAGES; $n++) {
            $ids[] = Realtime::broadcast('user.1', "event$n", ['n' => $n], headers: ['h' => "header$n"]);
        }
        Realtime::flush();

        return $ids;
    }

    /**
     * @param callable(Message, int): void $callback with the number of the record
     */
    private function handle(callable $callback): void
    {
        $n = 0;
        $broker = $this->broker()->subscribe('user.1', static function (Message $message) use ($callback, &$n): void {
            $callback($message, $n++);
        });
        self::assertSame(self::MESSAGES, $broker->consume(maxMessages: self::MESSAGES));
    }
}
