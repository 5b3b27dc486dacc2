<?php

/**
 * Each kind of failed send has its own exception, whose message names the next step.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\HopLimitException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class UnreachableBrokerTest extends ProducingTestCase
{
    /** The code in front of a snippet that prints its exception and the elapsed time. */
    private const REPORT = <<<'PHP'
        function report(callable $call): void
        {
            $start = hrtime(true);
            try {
                $call();
                $e = new Exception('none');
            } catch (Throwable $e) {
            }
            echo json_encode([get_class($e), $e->getMessage(), (hrtime(true) - $start) / 1e6]), "\n";
        }
        PHP;

    public function testSyncWithoutABroker(): void
    {
        $dead = $this->deadAddress();
        [[$class, $message, $ms]] = $this->reports(
            'report(fn () => Realtime::broadcast("user.1", "e"));',
            ['produce' => 'sync', 'producer_config' => ['message.timeout.ms' => 700]],
            $dead
        );
        self::assertSame(ConnectionException::class, $class, $message);
        self::assertStringContainsString($dead, $message);
        self::assertGreaterThan(500, $ms);
        self::assertLessThan(3000, $ms);
    }

    public function testAFullQueue(): void
    {
        $dead = $this->deadAddress();
        $config = ['queue_full_ms' => 200, 'producer_config' => ['queue.buffering.max.messages' => 10]];
        [$full, $stats] = $this->reports(<<<'PHP'
            for ($i = 0; $i < 10; $i++) {
                Realtime::broadcast('user.1', 'e', $i);
            }
            report(fn () => Realtime::broadcast('user.1', 'e', 'one too many'));
            echo json_encode(Realtime::stats());
            PHP, $config, $dead);
        [$class, $message, $ms] = $full;
        self::assertSame(QueueFullException::class, $class, $message);
        self::assertStringContainsString('200 ms', $message);
        self::assertStringContainsString($dead, $message);
        self::assertGreaterThan(190, $ms);
        self::assertLessThan(450, $ms);
        self::assertSame([10, 10], [$stats['messages_produced'], $stats['queued']], 'the refused one is not counted');
    }

    public function testAFullQueueThatDrainsLosesNothing(): void
    {
        $small = ['queue.buffering.max.messages' => 50];
        $broker = $this->broker(['queue_full_ms' => 10_000, 'producer_config' => $small]);
        for ($i = 0; $i < 2000; $i++) {
            $broker->publish('user.1', Message::event('user.1', 'e', $i), 'one key');
        }
        $broker->close();
        self::assertSame(range(0, 1999), array_column($this->envelopes('user.1', 2000), 'data'));
    }

    public function testAMessageLargerThanTheClientsLimit(): void
    {
        $before = Realtime::stats()['messages_produced'];
        $large = str_repeat('x', 5_000_000);
        $broker = $this->broker();
        foreach (
            [
                static fn () => Realtime::broadcast('user.1', 'e', $large),
                static fn () => $broker->publish('user.1', Message::event('user.1', 'e', $large)),
                static fn () => $broker->send('raw', $large),
            ] as $call
        ) {
            $message = self::thrown(MessageTooLargeException::class, $call);
            self::assertMatchesRegularExpression('/\b5[0-9]{6}\b/', $message, 'its size');
            self::assertStringContainsString('message.max.bytes', $message);
        }
        self::assertSame($before, Realtime::stats()['messages_produced']);
        Realtime::broadcast('user.1', 'still works');
        Realtime::flush();
        self::assertSame(['still works'], array_column($this->envelopes('user.1'), 'event'));
    }

    public function testALargerMessageThatIsAllowedArrives(): void
    {
        $broker = $this->broker(['producer_config' => ['message.max.bytes' => 900_000]]);
        $data = str_repeat('é', 100_000);
        $broker->publish('user.1', Message::event('user.1', 'e', $data));
        $broker->close();
        self::assertSame($data, $this->envelopes('user.1')[0]['data']);
    }

    public function testAPartitionThatDoesNotExist(): void
    {
        $topic = $this->createTopic($this->topic(), 2);
        $broker = $this->broker(['produce' => 'sync']);
        $broker->send($topic, 'fine', null, [], 1);
        $message = self::thrown(UnknownTopicException::class, static fn () => $broker->send($topic, 'x', null, [], 7));
        self::assertStringContainsString($topic, $message);
        $asynchronous = $this->broker();
        try {
            $asynchronous->send($topic, 'x', null, [], 7);
            Realtime::flush();
            self::fail('no callback was called');
        } catch (UnknownTopicException | DeliveryException $e) {
            self::assertStringContainsString($topic, $e->getMessage());
        }
        self::assertStringContainsString(
            '$partition',
            self::thrown(ConfigurationException::class, static fn () => $broker->send($topic, 'x', null, [], -1))
        );
    }

    public function testMessagesThatLoop(): void
    {
        $broker = $this->broker(['max_hops' => 3]);
        $seen = [];
        $broker->subscribe('circle', function (Message $message) use (&$seen, $broker): void {
            $seen[] = [$message->getData(), $message->getHeaders()['x-realtime-hops'] ?? null];
            $broker->publish('circle', Message::event('circle', 'e', $message->getData() + 1));
        });
        $broker->publish('circle', Message::event('circle', 'e', 0));
        // Permanent: no retry, and a dead letter ends the loop.
        $why = [];
        $broker->onFailed(function (Message $message, \Throwable $e) use (&$why): void {
            $why[] = $e;
        });
        self::assertSame(4, $broker->consume(200, 1, 4));
        self::assertSame([[0, null], [1, '1'], [2, '2'], [3, '3']], $seen);
        self::assertCount(1, $why);
        [$e] = $why;
        self::assertInstanceOf(HopLimitException::class, $e);
        self::assertStringContainsString('max_hops', $e->getMessage());
        self::assertStringContainsString('3', $e->getMessage());
    }

    /** @dataProvider rubbish */
    #[DataProvider('rubbish')]
    public function testABrokerThatAnswersInvalidBytes(string $kind): void
    {
        $server = $this->startPhp(<<<'PHP'
            $server = stream_socket_server('tcp://127.0.0.1:0');
            echo stream_socket_get_name($server, false), "\n";
            while ($connection = stream_socket_accept($server, 30)) {
                fread($connection, 100);
                @fwrite($connection, match ($argv[1]) {
                    'random' => random_bytes(5000),
                    'huge length' => "\x7f\xff\xff\xff" . random_bytes(100),
                    'negative length' => "\xff\xff\xff\xff" . random_bytes(100),
                    'zero length' => str_repeat("\0", 5000),
                    'http' => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
                    'hangs up' => '',
                });
                if ($argv[1] === 'hangs up') {
                    fclose($connection);
                } else {
                    $open[] = $connection;
                }
            }
            PHP, ['args' => [$kind], 'extension' => false, 'layer' => false]);
        $address = $server->waitForOutput('/^127.*:\d+$/m')[0];
        [$broadcast, $flush] = $this->reports(
            'report(fn () => Realtime::broadcast("user.1", "e")); report(fn () => Realtime::flush(600));',
            [],
            $address
        );
        self::assertSame('none', $broadcast[1]);
        self::assertLessThan(100, $broadcast[2]);
        self::assertSame(DeliveryException::class, $flush[0]);
        self::assertLessThan(1000, $flush[2]);
        self::assertStringContainsString($address, $flush[1]);
    }

    /** @return array<string, array{string}> */
    public static function rubbish(): array
    {
        $kinds = ['random', 'huge length', 'negative length', 'zero length', 'http', 'hangs up'];

        return array_combine($kinds, array_map(static fn (string $kind) => [$kind], $kinds));
    }

    /**
     * The output of a script, one JSON value per line; it does not wait at its end.
     *
     * @param array<string, mixed> $config
     *
     * @return list<mixed>
     */
    private function reports(string $code, array $config, string $address): array
    {
        $config = var_export(['brokers' => ['kafka' => $config + ['shutdown_flush_ms' => 0]]], true);
        $result = $this->runPhp(
            self::REPORT . "Realtime::configure($config); $code",
            ['env' => ['KAFKA_BROKERS' => $address]]
        )->assertExit();

        return array_map(static fn (string $line) => json_decode($line, true), $result->lines());
    }
}
