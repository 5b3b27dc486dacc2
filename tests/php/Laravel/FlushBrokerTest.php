<?php

/**
 * In long-running processes the flush happens at the end of each request, job and command.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use PHPUnit\Framework\Attributes\DataProvider;

final class FlushBrokerTest extends LaravelTestCase
{
    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testMessagesAreAcknowledgedAtTheFlush(string $end): void
    {
        $this->realtime("['brokers' => ['kafka' => ['producer_config' => ['linger.ms' => 250]]]]");
        self::assertSame([1, 0], $this->inApp(<<<PHP
            \Realtime::broadcast('user.1', 'e');
            \$before = \Realtime::stats()['queued'];
            $end;
            return [\$before, \Realtime::stats()['queued']];
            PHP));
    }

    /** @return array<string, array{string}> */
    public static function ends(): array
    {
        return [
            'a queue worker' => ['event(new Illuminate\Queue\Events\WorkerStopping())'],
            'a command' => ["Illuminate\\Support\\Facades\\Artisan::call('list')"],
            'the application' => ['app()->terminate()'],
            'a request in Octane' => ["event('Laravel\\Octane\\Events\\RequestTerminated', [new stdClass()])"],
            'a worker of Octane' => ["event('Laravel\\Octane\\Events\\WorkerStopping', [new stdClass()])"],
        ];
    }

    public function testWithKafkaUnreachableOnlyTheFirstFlushWaits(): void
    {
        $this->addEnv(['KAFKA_BROKERS' => '127.0.0.1:1']);
        [$first, $second] = $this->inApp(<<<'PHP'
            $times = [];
            foreach ([1, 2] as $i) {
                \Realtime::broadcast('user.1', 'e');
                $start = hrtime(true);
                event('Laravel\Octane\Events\RequestTerminated', [new stdClass()]);
                $times[] = (hrtime(true) - $start) / 1e6;
            }
            return $times;
            PHP);
        self::assertGreaterThan(450, $first);
        self::assertLessThan(1500, $first);
        self::assertLessThan(100, $second);
    }
}
