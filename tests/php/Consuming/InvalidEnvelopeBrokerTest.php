<?php

/**
 * A record of a channel topic that is not an envelope is dead-lettered, and consume() continues.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class InvalidEnvelopeBrokerTest extends ConsumingTestCase
{
    /** @dataProvider strangers */
    #[DataProvider('strangers')]
    public function testItIsDeadLetteredUnchangedAndTheOthersAreHandled(?string $value): void
    {
        $topic = $this->channelTopic('user.1');
        $this->broker()->send($topic, $value, 'its key', ['own' => "\xff"], 1);
        Realtime::flush();
        $envelope = Message::event('user.1', 'e', 1)->toJson();
        $this->send($topic, [$envelope], 1);

        $seen = 0;
        $broker = $this->broker()->subscribe('user.1', static function () use (&$seen): void {
            $seen++;
        });
        self::assertSame(2, $this->drain($broker), 'dead-lettered counts as handled');
        self::assertSame(1, $seen);
        self::assertSame(1, $broker->stats()['failures']);
        $broker->close();
        self::assertSame([1 => 2], array_filter($this->committed($topic)));

        $letters = $this->consumeAll("dlq.$topic", 1);
        self::assertCount(1, $letters);
        [$letter] = $letters;
        self::assertSame($value, $letter->getPayload());
        self::assertSame('its key', $letter->getKey());
        $headers = $letter->getHeaders();
        self::assertSame("\xff", $headers['own']);
        self::assertSame($topic, $headers['x-original-topic']);
        self::assertSame('1', $headers['x-original-partition']);
        self::assertSame('0', $headers['x-original-offset']);
        self::assertSame($this->group, $headers['x-original-group']);
        self::assertEqualsWithDelta(time() * 1000, (int) $headers['x-original-timestamp'], 60_000);
        self::assertSame(EncodingException::class, $headers['x-exception-class']);
        self::assertStringContainsString('Not an envelope', $headers['x-exception-message']);
        self::assertSame('0', $headers['x-attempts']);
        self::assertArrayHasKey('x-failed-at', $headers);
        self::assertStringContainsString("dlq.$topic", $this->logged());
    }

    /** @return array<string, array{string|null}> */
    public static function strangers(): array
    {
        return [
            'text' => ['hello'],
            'a tombstone' => [null],
            'empty' => [''],
            'JSON, but no object' => ['[1,2]'],
            'cut off' => ['{"id":"1","type":"event","channel":"user.1","ev'],
            'a channel that is not a string' => ['{"id":"1","channel":17,"event":"e"}'],
            'an unknown type' => ['{"id":"1","type":"telemetry","channel":"user.1","event":"e"}'],
            'invalid UTF-8' => ["{\"channel\":\"user.1\",\"event\":\"\xff\"}"],
            'too deep' => ['{"channel":"user.1","data":' . str_repeat('[', 600) . str_repeat(']', 600) . '}'],
        ];
    }

    public function testTheDeadLetterPrefixIsConfigurable(): void
    {
        $topic = $this->channelTopic('user.1');
        $this->send($topic, ['hello']);
        $this->drain($this->broker(['dlq_prefix' => 'dead'])->subscribe('user.1', static fn () => null));
        self::assertCount(1, $this->consumeAll("dead.$topic", 1));
        self::assertCount(0, $this->consumeAll("dlq.$topic"));
    }

    public function testWithDeadLettersOffConsumeThrowsAndTheOffsetStays(): void
    {
        $topic = $this->channelTopic('user.1');
        $this->send($topic, [Message::event('user.1', 'e', 1)->toJson(), 'hello']);
        $seen = 0;
        $broker = $this->broker(['dlq' => false])->subscribe('user.1', static function () use (&$seen): void {
            $seen++;
        });
        for ($i = 0; $i < 2; $i++) {
            try {
                $this->drain($broker);
                self::fail('It went on.');
            } catch (RealtimeException $e) {
                self::assertStringContainsString('partition 0 offset 1', $e->getMessage());
            }
        }
        $broker->close();
        self::assertSame(1, $seen);
        self::assertSame([0 => 1], array_filter($this->committed($topic)));
        self::assertCount(0, $this->consumeAll("dlq.$topic"));
    }

    public function testAnInvalidRecordInABatch(): void
    {
        $topic = $this->channelTopic('user.1');
        $envelope = static fn (int $i): string => Message::event('user.1', 'e', $i)->toJson();
        $this->send($topic, [$envelope(1), $envelope(2), 'hello', $envelope(3), $envelope(4)]);
        $seen = [];
        $broker = $this->broker()->subscribeBatch('user.1', static function (array $messages) use (&$seen): void {
            foreach ($messages as $message) {
                $seen[] = $message->getData();
            }
        });
        self::assertSame(5, $this->drain($broker));
        self::assertSame([1, 2, 3, 4], $seen);
        self::assertCount(1, $this->consumeAll("dlq.$topic", 1));
    }

    public function testPollSkipsIt(): void
    {
        $topic = $this->channelTopic('user.1');
        $this->send($topic, ['hello', Message::event('user.1', 'e', 5)->toJson()]);
        $broker = $this->broker()->subscribe('user.1');
        $message = $broker->poll(15_000);
        self::assertNotNull($message);
        self::assertSame(5, $message->getData());
        $broker->ack($message);
        $broker->close();
        self::assertSame([0 => 2], array_filter($this->committed($topic)));
        self::assertCount(1, $this->consumeAll("dlq.$topic", 1));
    }
}
