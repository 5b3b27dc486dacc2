<?php

/**
 * Passing on what was received: its headers may be given to every method that takes headers, on every hop.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Closure;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Consuming\ConsumingTestCase;

final class PassingOnBrokerTest extends ConsumingTestCase
{
    /** What a message may have collected: a hop, a failure, a replay, a socket to leave out, its own. */
    private const RECEIVED = [
        'own' => 'kept', 'x-realtime-hops' => '3', 'x-realtime-socket' => '1.2', 'x-original-topic' => 'other',
        'x-original-offset' => '7', 'x-exception-class' => 'Old', 'x-exception-chain' => 'Old: old in old.php:1',
        'x-attempts' => '4', 'x-failed-at' => '1', 'x-replays' => '1', 'x-replay-group' => 'others',
    ];

    /**
     * @return array<string, array{Closure(Broker, Message): mixed}>
     */
    public static function ways(): array
    {
        $more = static fn (Message $m) => $m->getHeaders() + ['hop' => 'yes'];

        return [
            'withHeaders()' => [static fn (Broker $b, Message $m) => $b->publish('out', $m->withHeaders($more($m)))],
            'publish()' => [static fn (Broker $b, Message $m) => $b->publish('out', $m, null, $more($m))],
            'publish(), a new message' => [
                static fn (Broker $b, Message $m) => $b->publish('out', Message::event('out', 'e', 1), null, $more($m)),
            ],
            'publishBatch()' => [static fn (Broker $b, Message $m) => $b->publishBatch([['out', 'e', 1, null, $more($m)]])],
            'broadcast()' => [static fn (Broker $b, Message $m) => Realtime::broadcast('out', 'e', 1, headers: $more($m))],
        ];
    }

    /**
     * @param Closure(Broker, Message): mixed $passOn
     *
     * @dataProvider ways
     */
    #[DataProvider('ways')]
    public function testTheHeadersOfAReceivedMessageMayBePassedOn(Closure $passOn): void
    {
        $envelope = Message::event('in', 'e', 1)->toJson();
        $headers = self::RECEIVED;
        $headers['x-replay-group'] = $this->group;
        $this->rawRecord($this->channelTopic('in'), $envelope, $headers);
        $broker = $this->broker(['max_retries' => 0]);
        $broker->subscribe('in', static function (Message $m) use ($passOn, $broker): void {
            $passOn($broker, $m);
        });
        self::assertSame(1, $this->drain($broker));
        self::assertSame(0, $broker->stats()['dead_lettered'], $this->logged());
        $broker->close();
        $out = $this->consumeAll($this->channelTopic('out'), 1);
        self::assertCount(1, $out);
        $headers = $out[0]->getHeaders();
        self::assertSame('kept', $headers['own']);
        self::assertSame('yes', $headers['hop']);
        self::assertArrayHasKey('x-realtime-hops', $headers);
        $ofTheFailure = array_filter(
            array_keys($headers),
            static fn (string $name) => preg_match('/^x-(original|exception|attempts|failed|repla)/', $name) === 1,
        );
        self::assertSame([], array_values($ofTheFailure));
    }

    /**
     * @return array<string, array{string, string|null, string|null}> channel, value, why it is refused
     */
    public static function rawRecords(): array
    {
        $envelope = Message::event('in', 'e', ['n' => 1])->toJson();

        return [
            'the same channel' => ['in', $envelope, null],
            'another channel' => ['out', $envelope, null],
            'JSON' => ['out', '{"n":1}x', 'is not an envelope'],
            'text' => ['out', 'n = 1', 'is not an envelope'],
            'a tombstone' => ['out', null, 'is not an envelope'],
        ];
    }

    /** @dataProvider rawRecords */
    #[DataProvider('rawRecords')]
    public function testARecordOfARawTopicIsPublishedIfItIsAnEnvelope(
        string $channel,
        ?string $value,
        ?string $refused
    ): void {
        $this->broker()->send($this->topic(), $value, 'k');
        Realtime::flush();
        $broker = $this->broker(['max_retries' => 0]);
        $why = '';
        $broker->subscribeTopic($this->topic(), static function (Message $m) use ($broker, $channel, &$why): void {
            try {
                $broker->publish($channel, $m);
            } catch (EncodingException $e) {
                $why = $e->getMessage();
            }
        });
        self::assertSame(1, $this->drain($broker));
        $broker->close();
        if ($refused !== null) {
            self::assertStringContainsString($refused, $why);
            self::assertStringContainsString('send()', $why);

            return;
        }
        self::assertSame('', $why);
        $received = [];
        $broker = $this->broker(['consumer_group' => "$this->group-2"]);
        $broker->subscribe($channel, static function (Message $m) use (&$received): void {
            $received[] = [$m->getChannel(), $m->getEvent(), $m->getData(), $m->getId()];
        });
        self::assertSame(1, $this->drain($broker));
        self::assertSame([[$channel, 'e', ['n' => 1], Message::fromJson((string) $value)->getId()]], $received);
        self::assertSame(0, $broker->stats()['topic_mismatch']);
    }

    /**
     * A record with headers that only other processes can set, as send() drops them.
     *
     * @param array<string, string> $headers
     */
    private function rawRecord(string $topic, string $value, array $headers): void
    {
        $this->broker()->send($topic, $value, null, $headers, 0);
        Realtime::flush();
    }
}
