<?php

/**
 * Dead letters: the unchanged record, headers that describe the failure, and a topic that is not writable.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use DomainException;
use PHPUnit\Framework\Attributes\DataProvider;
use RuntimeException;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Delivery\DeliveryTestCase;

final class DeadLetterBrokerTest extends DeliveryTestCase
{
    /**
     * @dataProvider records
     *
     * @param array<string, string|null> $headers
     */
    #[DataProvider('records')]
    public function testKeyValueAndHeadersAreUnchanged(?string $key, ?string $value, array $headers): void
    {
        $topic = $this->topic();
        $this->broker()->send($topic, $value, $key, $headers, 1);
        Realtime::flush();
        $seen = 0;
        $broker = $this->broker()->subscribeTopic($topic, static function () use (&$seen): void {
            $seen++;
            throw new DomainException('no good');
        });
        self::assertSame(1, $this->drain($broker));
        self::assertSame(4, $seen);
        [$letter] = $this->letters(1);
        self::assertSame($value, $letter->getPayload());
        self::assertSame($key, $letter->getKey());
        $all = $letter->getHeaders();
        foreach ($headers as $name => $header) {
            self::assertSame($header, $all[$name]);
        }
        self::assertSame(array_keys($headers), array_slice(array_keys($all), 0, count($headers)), 'theirs first');
        self::assertEqualsCanonicalizing([
            'x-original-topic', 'x-original-partition', 'x-original-offset', 'x-original-timestamp',
            'x-original-group', 'x-exception-class', 'x-exception-message', 'x-exception-chain', 'x-attempts',
            'x-failed-at', 'x-replays',
        ], array_slice(array_keys($all), count($headers)), 'and no more of ours');
        self::assertSame([$topic, '1', '0', $this->group, '4', '0', DomainException::class, 'no good'], [
            $all['x-original-topic'], $all['x-original-partition'], $all['x-original-offset'],
            $all['x-original-group'], $all['x-attempts'], $all['x-replays'], $all['x-exception-class'],
            $all['x-exception-message'],
        ]);
        self::assertEqualsWithDelta(time() * 1000, (int) $all['x-original-timestamp'], 60_000);
        self::assertEqualsWithDelta(time(), (int) $all['x-failed-at'], 30);
    }

    /** @return array<string, array{string|null, string|null, array<string, string|null>}> */
    public static function records(): array
    {
        return [
            'text' => ['its key', 'its value', ['b' => '1', 'a' => '2']],
            'bytes' => ["\xff\0k", "\0\x80\xfe\r\n", ['bytes' => "\0\xff", 'none' => null, 'empty' => '']],
            'a tombstone' => ['key', null, []],
            'empty' => ['', '', []],
            'no key' => [null, '{"a": 1}', ['traceparent' => '00-1-2-01', 'x-own' => '8']],
        ];
    }

    public function testChannelMessagesToo(): void
    {
        $value = ' {"channel":"user.1", "event" : "e","data":{"b":1.0,"a":"\u00e9\/"},"id":"7","extra":[ ] }';
        $topic = $this->channelTopic('user.1');
        $this->broker()->send($topic, $value, 'k', [], 0);
        Realtime::flush();
        self::assertSame(1, $this->drain($this->broker(['max_retries' => 0])->subscribe('user.1', function (): void {
            throw new DomainException('no');
        })));
        [$letter] = $this->letters(1, $topic);
        self::assertSame($value, $letter->getPayload());
    }

    /** @dataProvider messages */
    #[DataProvider('messages')]
    public function testTheMessageOfTheException(string $message, string $expected): void
    {
        $this->produce(['A1']);
        $why = new DomainException($message);
        $this->drain($this->consumer(static fn (): DomainException => $why, ['max_retries' => 0]));
        self::assertSame($expected, $this->letters(1)[0]->getHeaders()['x-exception-message']);
    }

    /** @return array<string, array{string, string}> */
    public static function messages(): array
    {
        return [
            'empty' => ['', ''],
            'long' => [str_repeat('x', 5000), str_repeat('x', 1024)],
            'cut between characters' => ['x' . str_repeat('ü', 5000), 'x' . str_repeat('ü', 511)],
        ];
    }

    public function testTheClassOfAnAnonymousException(): void
    {
        $this->produce(['A1']);
        $why = new class ('no') extends RuntimeException {
        };
        $this->drain($this->consumer(static fn (): RuntimeException => $why, ['max_retries' => 0]));
        self::assertStringStartsWith('RuntimeException@', $this->letters(1)[0]->getHeaders()['x-exception-class']);
    }

    public function testAReplayThatFailsAgainKeepsItsFirstFailure(): void
    {
        $first = [
            'x-original-topic' => 'elsewhere', 'x-original-partition' => '7', 'x-original-offset' => '99',
            'x-original-timestamp' => '1', 'x-original-group' => 'others', 'x-exception-class' => 'Old',
            'x-exception-message' => 'old', 'x-attempts' => '9', 'x-failed-at' => '1', 'x-replays' => '2',
            'x-replay-group' => $this->group, 'own' => 'kept',
        ];
        $this->broker()->send($this->topic(), 'A1', 'A', $first, 0);
        Realtime::flush();
        $this->drain($this->consumer(['A1' => self::ALWAYS], ['max_retries' => 1]));
        $headers = $this->letters(1)[0]->getHeaders();
        self::assertArrayNotHasKey('x-replay-group', $headers);
        self::assertEqualsWithDelta(time(), (int) $headers['x-failed-at'], 30);
        self::assertStringStartsWith('DomainException: no A1 in ', $headers['x-exception-chain']);
        unset($headers['x-exception-chain']);
        unset($first['x-replay-group'], $first['x-failed-at'], $headers['x-failed-at']);
        self::assertEquals([
            'x-exception-class' => DomainException::class, 'x-exception-message' => 'no A1', 'x-attempts' => '2',
        ] + $first, $headers);
    }

    public function testAReplayForAnotherGroupIsSkipped(): void
    {
        $broker = $this->broker();
        $broker->send($this->topic(), 'A1', 'A', ['x-replay-group' => 'others'], 0);
        $broker->send($this->topic(), 'A2', 'A', ['x-replay-group' => $this->group], 0);
        foreach (['others' => 'others', 'ours' => $this->group] as $data => $group) {
            $envelope = Message::event('user.1', 'e', $data)->toJson();
            $broker->send($this->channelTopic('user.1'), $envelope, 'user.1', ['x-replay-group' => $group]);
        }
        Realtime::flush();
        $data = [];
        $broker = $this->consumer()->subscribe('user.1', static function (Message $message) use (&$data): void {
            $data[] = $message->getData();
        });
        self::assertSame(2, $this->drain($broker));
        self::assertSame([['A2'], ['ours'], 2], [$this->done, $data, $broker->stats()['skipped']]);
        $broker->close();
        self::assertSame([0 => 2], $this->committed($this->topic()));
    }

    public function testWithDeadLettersOffConsumeThrowsAfterTheLastAttempt(): void
    {
        $this->produce(['A1', 'B1', 'A2', 'C1']);
        $why = null;
        $broker = $this->consumer(static function (Message $message) use (&$why): ?DomainException {
            return $message->getPayload() === 'B1' ? $why = new DomainException('no') : null;
        }, ['dlq' => false, 'max_retries' => 2]);
        $thrown = $this->drainThrows($broker);
        self::assertSame($why, $thrown, 'the very exception of the last try');
        self::assertSame(['B1#1', 'B1#2', 'B1#3'], $this->triesOf('B'));
        self::assertSame(['A1', 'A2', 'C1'], $this->done, 'the others were handled meanwhile');
        self::assertSame('error', $broker->stats()['stop_reason']);
        self::assertSame(0, $broker->stats()['dead_lettered']);
        $broker->close();
        self::assertContains('B1', $this->left(), 'its offset stays');
        self::assertSame([], $this->letters());
    }

    public function testTheirPrefixIsASetting(): void
    {
        $this->produce(['A1']);
        $this->drain($this->consumer(['A1' => self::ALWAYS], ['dlq_prefix' => 'dead', 'max_retries' => 0]));
        self::assertCount(1, $this->consumeAll("dead.{$this->topic()}", 1));
        self::assertSame([], $this->letters());
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testAnExceptionWhileConsumingDeadLettersEndsConsumeImmediately(string $prefix, string $way): void
    {
        $topic = "$prefix.{$this->topic()}";
        $this->produce(['A1', 'B1'], 0, $topic);
        $why = new DomainException('no');
        $calls = 0;
        $throw = static function () use (&$calls, $why): void {
            $calls++;
            throw $why;
        };
        $broker = $this->broker(['dlq_prefix' => $prefix]);
        // A pattern of raw topics that matches only this one.
        $broker->subscribeTopic($way === 'pattern' ? "$prefix.$this->prefix.raw.*" : $topic, $throw);
        self::assertSame($why, $this->drainThrows($broker));
        self::assertSame(1, $calls);
        self::assertSame(['error', 0, 0], [
            $broker->stats()['stop_reason'], $broker->stats()['parked'], $broker->stats()['dead_lettered'],
        ]);
        $broker->close();
        $values = array_map(static fn (Message $message) => $message->getPayload(), $this->consumeAll($topic, 2));
        self::assertSame(['A1', 'B1'], $values);
        self::assertSame([], array_filter($this->committed($topic)), 'the offset stays');
        self::assertSame([], $this->consumeAll("$prefix.$topic"));
    }

    /** @return array<string, array{string, string}> */
    public static function ways(): array
    {
        return ['by name' => ['dlq', 'name'], 'by a pattern' => ['dlq', 'pattern'], 'prefix' => ['dead', 'name']];
    }

    public function testIfTheDeadLetterTopicIsNotWritableTheOffsetStays(): void
    {
        // As long as Kafka allows: with "dlq." in front it is too long.
        $topic = str_pad($this->topic(), 247, 'x');
        $kafka = self::isReal() ? null : EmbeddedBroker::start();
        $config = $kafka === null ? [] : ['brokers' => $kafka->address()];
        $sender = $this->broker($config);
        array_map(static fn (string $value) => $sender->send($topic, $value, null, [], 0), ['A1', 'B1']);
        $sender->close();
        $failing = $this->broker($config + ['max_retries' => 0]);
        $failing->subscribeTopic($topic, static function () use ($kafka): void {
            // The embedded broker accepts any topic name, but then refuses the record.
            $kafka?->failNext('Produce', 'TOPIC_AUTHORIZATION_FAILED', 20);
            throw new DomainException('no');
        });
        $start = microtime(true);
        $e = $this->drainThrows($failing);
        self::assertInstanceOf(RealtimeException::class, $e, get_class($e) . ': ' . $e->getMessage());
        self::assertStringContainsString("dlq.$topic", $e->getMessage());
        self::assertLessThan(15.0, microtime(true) - $start);
        $failing->close();
        $values = [];
        $again = $this->broker($config)->subscribeTopic($topic, static function (Message $m) use (&$values): void {
            $values[] = $m->getPayload();
        });
        $this->drain($again);
        $again->close();
        $kafka?->stop();
        self::assertSame(['A1', 'B1'], $values, 'both come again');
    }
}
