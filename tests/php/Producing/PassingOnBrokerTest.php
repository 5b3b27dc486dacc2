<?php

/**
 * Passing on what was received: its headers may be given to every method that takes headers, on every hop.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Closure;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
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

    public function testAHeaderWithoutANameIsRefused(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('not a header name');
        Message::event('a', 'e')->withHeaders(['' => 'x']);
    }

    public function testAHeaderNameThatIsNotUtf8IsRefused(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('not a header name');
        Message::event('a', 'e')->withHeaders(["\xFF" => 'x']);
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
