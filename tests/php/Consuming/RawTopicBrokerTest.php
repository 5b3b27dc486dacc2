<?php

/**
 * subscribeTopic(): every record of a topic, unchanged.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Closure;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class RawTopicBrokerTest extends ConsumingTestCase
{
    /** @var list<Message> */
    private array $got = [];

    public function testARecordIsUnchanged(): void
    {
        $topic = $this->topic();
        $this->broker()->send($topic, "\x00\xff bytes", "\xfekey", ['h' => "\x01\xff"], 2);
        Realtime::flush();
        self::assertSame(1, $this->drain($this->broker()->subscribeTopic($topic, $this->collect())));
        [$message] = $this->got;
        self::assertSame('raw', $message->getType());
        self::assertSame("$topic-2-0", $message->getId());
        self::assertNull($message->getChannel());
        self::assertNull($message->getEvent());
        self::assertSame("\x00\xff bytes", $message->getPayload());
        self::assertSame("\xfekey", $message->getKey());
        self::assertSame(['h' => "\x01\xff"], $message->getHeaders());
        self::assertSame([$topic, 2, 0], [$message->getTopic(), $message->getPartition(), $message->getOffset()]);
        self::assertNull($message->getData(), 'no JSON');
        self::assertEqualsWithDelta(time(), $message->getTimestamp(), 10);
    }

    public function testDataIsDecodedIfTheValueIsJson(): void
    {
        $topic = $this->topic();
        $this->send($topic, [['a' => [1, 2.5, null]], '"text"', '17', 'null', '{"broken', '', " [1] \n"]);
        $this->drain($this->broker()->subscribeTopic($topic, $this->collect()));
        self::assertSame(
            [['a' => [1, 2.5, null]], 'text', 17, null, null, null, [1]],
            array_map(static fn (Message $message) => $message->getData(), $this->got)
        );
        self::assertSame(
            ['{"a":[1,2.5,null]}', '"text"', '17', 'null', '{"broken', '', " [1] \n"],
            array_map(static fn (Message $message) => $message->getPayload(), $this->got)
        );
    }

    public function testATombstone(): void
    {
        $topic = $this->topic();
        $this->broker()->send($topic, null, 'gone');
        Realtime::flush();
        self::assertSame(1, $this->drain($this->broker()->subscribeTopic($topic, $this->collect())));
        self::assertNull($this->got[0]->getPayload());
        self::assertNull($this->got[0]->getData());
        self::assertSame('gone', $this->got[0]->getKey());
    }

    public function testAPatternOfTopics(): void
    {
        foreach (['orders.eu', 'orders.us', 'orders.eu.old', 'mails.eu'] as $name) {
            $this->send($this->topic($name), [$name]);
        }
        $broker = $this->broker()->subscribeTopic($this->topic('orders.*'), $this->collect());
        self::assertSame(2, $this->drain($broker));
        self::assertEqualsCanonicalizing(['orders.eu', 'orders.us'], $this->payloads());

        $this->got = [];
        $broker = $this->broker(['consumer_group' => "$this->group-all"]);
        $broker->subscribeTopic($this->topic('orders.**'), $this->collect());
        self::assertSame(3, $this->drain($broker));
    }

    public function testTheExactTopicComesBeforeThePattern(): void
    {
        $this->send($this->topic('a'), ['a']);
        $this->send($this->topic('b'), ['b']);
        $by = [];
        $broker = $this->broker()
            ->subscribeTopic($this->topic('*'), static function (Message $message) use (&$by): void {
                $by[] = 'pattern ' . $message->getPayload();
            })
            ->subscribeTopic($this->topic('b'), static function (Message $message) use (&$by): void {
                $by[] = 'exact ' . $message->getPayload();
            });
        $this->drain($broker);
        self::assertEqualsCanonicalizing(['pattern a', 'exact b'], $by);
    }

    public function testARawSubscriptionOfAChannelTopicGetsEveryRecord(): void
    {
        $topic = $this->channelTopic('user.1');
        $this->publish('user.1', [1]);
        $this->send($topic, ['no envelope', '{"channel":"elsewhere","event":"e"}', null]);
        $broker = $this->broker()->subscribeTopic($topic, $this->collect());
        self::assertSame(4, $this->drain($broker));
        self::assertSame(['raw', 'raw', 'raw', 'raw'], array_map(static fn ($m) => $m->getType(), $this->got));
        self::assertSame(0, $broker->stats()['topic_mismatch']);
        self::assertCount(0, $this->consumeAll("dlq.$topic"));
    }

    public function testChannelsAndTopicsOnOneBroker(): void
    {
        $this->publish('user.1', ['envelope']);
        $this->send($this->topic(), ['raw']);
        $broker = $this->broker()
            ->subscribe('user.1', $this->collect())
            ->subscribeTopic($this->topic(), $this->collect());
        self::assertSame(2, $this->drain($broker));
        self::assertEqualsCanonicalizing(['event', 'raw'], array_map(static fn ($m) => $m->getType(), $this->got));
    }

    public function testALargeRecord(): void
    {
        $bytes = random_bytes(900_000);
        $this->send($this->topic(), [$bytes]);
        $this->drain($this->broker()->subscribeTopic($this->topic(), $this->collect()));
        self::assertSame(sha1($bytes), sha1((string) $this->got[0]->getPayload()));
    }

    /** @dataProvider badTopics */
    #[DataProvider('badTopics')]
    public function testBadTopicsAreRefused(string $topic): void
    {
        $this->expectException(InvalidChannelException::class);
        $this->broker()->subscribeTopic($topic, $this->collect());
    }

    /** @return array<string, array{string}> */
    public static function badTopics(): array
    {
        return [
            'empty' => [''],
            'a letter Kafka has not' => ['a/b'],
            'too long' => [str_repeat('x', 250)],
            'dots' => ['..'],
        ];
    }

    private function collect(): Closure
    {
        return function (Message $message): void {
            $this->got[] = $message;
        };
    }

    /** @return list<string|null> */
    private function payloads(): array
    {
        return array_map(static fn (Message $message) => $message->getPayload(), $this->got);
    }
}
