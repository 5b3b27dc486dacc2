<?php

/**
 * Events from JSON text: one, or one per line; an invalid line does not affect the others.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Testing\RealtimeFake;
use Toporia\Realtime\Tests\Support\PublisherDouble;
use Toporia\Realtime\Worker\EventPublisher;
use Toporia\Realtime\Worker\UsageError;

final class EventPublisherUnitTest extends TestCase
{
    private RealtimeFake $fake;
    private int $flushed = 0;

    protected function setUp(): void
    {
        $this->fake = new RealtimeFake();
    }

    public function testOne(): void
    {
        $id = $this->publisher()->send('{"id":7,"o":{}}');
        $sent = $this->fake->sent()[0];
        self::assertSame($id, $sent->message?->getId());
        self::assertSame(['user.1', 'paid', 'k', ['a' => 'b']], [
            $sent->channel, $sent->message?->getEvent(), $sent->key, $sent->headers,
        ]);
        self::assertStringContainsString('"data":{"id":7,"o":{}}', (string) $sent->message?->toJson());
    }

    public function testOneWithoutData(): void
    {
        $this->publisher()->send(null);
        self::assertNull($this->fake->broadcasts()[0]->getData());
    }

    public function testInvalidJsonIsWrongUsage(): void
    {
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage("The data is not valid JSON (Syntax error): {id:7\\u001b}");
        $this->publisher()->send("{id:7\e}");
    }

    public function testABadLineIsNamedAndTheOthersAreSent(): void
    {
        $publisher = $this->publisher();
        $ids = $errors = [];
        $invalid = $publisher->sendLines(
            $this->stream("{\"id\":1}\r\n\n{bad\n5\n\"\xff\"\n  [2] \n\"last\""),
            static function (string $id) use (&$ids): void {
                $ids[] = $id;
            },
            static function (string $error) use (&$errors): void {
                $errors[] = $error;
            }
        );
        self::assertSame(2, $invalid);
        self::assertSame(4, $publisher->sent);
        self::assertSame(array_map(static fn (Message $m) => $m->getId(), $this->fake->broadcasts()), $ids);
        self::assertSame(
            [['id' => 1], 5, [2], 'last'],
            array_map(static fn (Message $m) => $m->getData(), $this->fake->broadcasts())
        );
        self::assertSame('line 3 was not sent: invalid JSON (Syntax error): {bad', $errors[0]);
        self::assertStringStartsWith('line 5 was not sent: invalid JSON (Malformed UTF-8', $errors[1]);
    }

    public function testAFullQueueIsWaitedFor(): void
    {
        $full = new class ($this->fake) extends PublisherDouble {
            public bool $full = true;

            public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string
            {
                return $this->full
                    ? throw new QueueFullException('full')
                    : $this->inner->publish($channel, $message, $key, $headers);
            }
        };
        $publisher = new EventPublisher($full, 'user.1', 'paid', null, [], function () use ($full): void {
            $this->flushed++;
            $full->full = false;
        });
        $publisher->send('1');
        self::assertSame(1, $this->flushed);
        $this->fake->assertBroadcastTimes('user.1', 'paid', 1);
    }

    private function publisher(): EventPublisher
    {
        return new EventPublisher($this->fake, 'user.1', 'paid', 'k', ['a' => 'b'], fn () => $this->flushed++);
    }

    /** @return resource */
    private function stream(string $text): mixed
    {
        $stream = fopen('php://memory', 'r+');
        assert($stream !== false);
        fwrite($stream, $text);
        rewind($stream);

        return $stream;
    }
}
