<?php

/**
 * The CPU time of a producer whose messages are acknowledged late. The embedded broker runs in another process.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\EmbeddedBroker;

final class BusyPollEmbeddedTest extends ProducingTestCase
{
    /**
     * librdkafka polls without a wait while five messages are in flight to a partition; that took up to a whole core.
     */
    public function testLateAcknowledgementsTakeNoTimeOfTheProcessor(): void
    {
        $kafka = EmbeddedBroker::start();
        $kafka->setLatency(30);
        $result = $this->runPhp(<<<'PHP'
            $send = static fn (int $n) => Realtime::broadcast('user.1', 'order.created', ['number' => $n]);
            Realtime::configure([
                'default_broker' => 'kafka',
                'brokers' => ['kafka' => ['brokers' => getenv('KAFKA_BROKERS'), 'topic_prefix' => 'busy']],
            ]);
            $send(0);
            Realtime::flush(10_000);
            $cpu = static function (): float {
                $usage = getrusage();

                return $usage['ru_utime.tv_sec'] + $usage['ru_stime.tv_sec']
                    + ($usage['ru_utime.tv_usec'] + $usage['ru_stime.tv_usec']) / 1e6;
            };
            [$began, $before] = [microtime(true), $cpu()];
            for ($n = 1; $n <= 1500; $n++) {
                $send($n);
                usleep((int) max(0, ($began + $n * 0.002 - microtime(true)) * 1e6));
            }
            Realtime::flush(10_000);
            echo json_encode([$cpu() - $before, Realtime::stats()['messages_delivered']]);
            PHP, ['env' => ['KAFKA_BROKERS' => $kafka->address()]]);
        $kafka->stop();
        $result->assertExit(0);
        [$cpu, $delivered] = json_decode($result->stdout, true);
        self::assertSame(1501, $delivered);
        // In three seconds: 0.1 s. On a quiet machine it was 2.4 s.
        self::assertLessThan(0.6, $cpu, 'seconds of the processor');
    }
}
