<?php

/**
 * `produce: sync` and `acks`: which acknowledgements are awaited, and the warnings about them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class AcknowledgementBrokerTest extends ProducingTestCase
{
    public function testSyncReturnsWhenAcknowledged(): void
    {
        $broker = $this->broker(['produce' => 'sync']);
        for ($i = 0; $i < 20; $i++) {
            $broker->publish('user.1', Message::event('user.1', 'e', $i));
            self::assertSame(0, Realtime::stats()['queued']);
        }
        $broker->send($this->topic(), 'raw');
        $this->configure(['produce' => 'sync']);
        Realtime::broadcast(['user.1', 'user.2'], 'e', 20);
        self::assertSame(0, Realtime::stats()['queued']);
        self::assertSame(range(0, 20), array_column($this->envelopes('user.1', 21), 'data'));
        self::assertSame(['raw'], $this->payloads($this->topic()));
    }

    public function testSyncReportsOnlyItsOwnMessage(): void
    {
        $result = $this->runPhp(<<<'PHP'
            $lost = new Broker(['brokers' => $argv[1], 'producer_config' => ['message.timeout.ms' => 300],
                'shutdown_flush_ms' => 0]);
            $lost->publish('user.1', Message::event('user.1', 'lost'));
            usleep(900_000);
            (new Broker(['produce' => 'sync']))->publish('user.1', Message::event('user.1', 'delivered'));
            try {
                Realtime::flush();
            } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                echo count($e->getFailed());
            }
            PHP, ['args' => [$this->deadAddress()]])->assertExit();
        self::assertSame('1', $result->stdout, 'the flush still reports the other message');
        self::assertSame(['delivered'], array_column($this->envelopes('user.1'), 'event'));
    }

    /** @dataProvider weakAcks */
    #[DataProvider('weakAcks')]
    public function testWeakAcksLogOneWarning(array $config, string $number): void
    {
        $config = var_export(['brokers' => ['kafka' => $config]], true);
        $result = $this->runPhp("Realtime::configure($config);" . <<<'PHP'
            for ($i = 0; $i < 200; $i++) {
                Realtime::broadcast('user.1', 'e', $i);
                (new Broker(['max_hops' => 9]))->publish('user.1', Message::event('user.1', 'e', $i));
            }
            Realtime::flush();
            PHP)->assertExit();
        self::assertSame(1, substr_count($result->stderr, "acks=$number turns idempotence off"), $result->stderr);
        self::assertCount(400, $this->envelopes('user.1', 400));
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function weakAcks(): array
    {
        return [
            'acks 1, as the Laravel guide has it' => [['producer_config' => ['acks' => '1']], '1'],
            'acks 0' => [['acks' => 0], '0'],
        ];
    }

    public function testSyncWithAcks0DoesNotWait(): void
    {
        $broker = $this->broker(['produce' => 'sync', 'acks' => 0]);
        $broker->publish('user.1', Message::event('user.1', 'warm'));
        $ms = self::time(static fn () => $broker->publish('user.1', Message::event('user.1', 'e')));
        self::assertLessThan(1000, $ms);
        $broker->close();
        self::assertCount(2, $this->envelopes('user.1', 2));
    }

    public function testAcksAllLogsNoWarning(): void
    {
        $config = var_export(['acks' => 'all', 'idempotence' => true], true);
        $result = $this->runPhp("(new Broker($config))->publish('user.1', Message::event('user.1', 'e'));");
        self::assertSame('', $result->assertExit()->stderr);
        self::assertCount(1, $this->envelopes('user.1'));
    }

    public function testFlushAfterASyncFailureDoesNotReportItAgain(): void
    {
        $result = $this->runPhp(<<<'PHP'
            Realtime::configure(['produce' => 'sync', 'producer_config' => ['message.timeout.ms' => 300],
                'shutdown_flush_ms' => 0]);
            try {
                Realtime::broadcast('user.1', 'e');
            } catch (Toporia\Realtime\Exception\ConnectionException $e) {
                echo 'thrown';
            }
            Realtime::flush(100);
            PHP, ['env' => ['KAFKA_BROKERS' => $this->deadAddress()]])->assertExit();
        self::assertSame('thrown', $result->stdout);
        self::assertStringNotContainsString(DeliveryException::class, $result->stderr);
    }
}
