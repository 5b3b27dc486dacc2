<?php

/**
 * Realtime::flush() with and without a broker: what it waits for, which channels it names, and how long it takes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class FlushBrokerTest extends ProducingTestCase
{
    public function testItWaitsForEverythingOfEveryBroker(): void
    {
        $other = $this->broker(['topic_prefix' => "$this->prefix-other"]);
        for ($i = 0; $i < 2000; $i++) {
            Realtime::broadcast('user.1', 'e', $i);
            $other->publish('user.1', Message::event('user.1', 'e', $i));
        }
        Realtime::flush();
        self::assertSame(0, Realtime::stats()['queued']);
        self::assertSame(2000, $this->topicCount($this->channelTopic('user.1')));
        self::assertSame(2000, $this->topicCount("$this->prefix-other_user_1"));
        self::assertLessThan(50, self::time(static fn () => Realtime::flush()), 'nothing is left to wait for');
    }

    public function testItIsQuickWhateverTheLingerTime(): void
    {
        $broker = $this->broker(['producer_config' => ['linger.ms' => 2000]]);
        $broker->publish('user.1', Message::event('user.1', 'warm'));
        Realtime::flush();
        $times = [];
        for ($i = 0; $i < 10; $i++) {
            $broker->publish('user.1', Message::event('user.1', 'e'));
            $times[] = self::time(static fn () => Realtime::flush());
        }
        sort($times);
        self::assertLessThan(50, $times[5], 'the median of a flush, in ms');
    }

    public function testWithoutABrokerItThrowsAtTheTimeoutAndNamesEachMessage(): void
    {
        $result = $this->without(<<<'PHP'
            $start = hrtime(true);
            $sent[Realtime::broadcast('user.1', 'e')] = 'PREFIX_user_1';
            $sent[Realtime::broadcast('user.2', 'e')] = 'PREFIX_user_2';
            $sent[Realtime::broker()->send('raw.topic', 'x')] = 'raw.topic';
            $took['broadcast'] = (hrtime(true) - $start) / 1e6;
            $start = hrtime(true);
            try {
                Realtime::flush(300);
            } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                $took['flush'] = (hrtime(true) - $start) / 1e6;
                echo json_encode([$sent, $took, $e->getFailed(), $e->getMessage()]);
            }
            PHP);
        [$sent, $took, $failed, $message] = $result;
        self::assertLessThan(50, $took['broadcast']);
        self::assertGreaterThan(250, $took['flush']);
        self::assertLessThan(600, $took['flush']);
        self::assertSame(str_replace('PREFIX', $this->prefix, array_values($sent)), array_column($failed, 'topic'));
        self::assertSame(array_keys($sent), array_column($failed, 'id'));
        foreach ($failed as $one) {
            self::assertSame(['id', 'topic', 'reason'], array_keys($one));
            self::assertStringContainsString('300 ms', $one['reason']);
        }
        self::assertStringContainsString('3 message', $message);
        self::assertStringContainsString(array_key_first($sent), $message);
        self::assertStringContainsString($this->dead, $message);
        self::assertStringContainsString('running', $message);
    }

    public function testMessagesThatExpireAreNamedOnceAndCounted(): void
    {
        $result = $this->without(<<<'PHP'
            Realtime::configure(['producer_config' => ['message.timeout.ms' => 400]]);
            $id = Realtime::broadcast('user.1', 'e');
            $start = hrtime(true);
            try {
                Realtime::flush(5000);
            } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                $failed = $e->getFailed();
            }
            $took = (hrtime(true) - $start) / 1e6;
            Realtime::flush(5000);
            echo json_encode([$id, $failed, $took, Realtime::stats()]);
            PHP);
        [$id, $failed, $took, $stats] = $result;
        self::assertSame([$id], array_column($failed, 'id'));
        self::assertNotSame('', $failed[0]['reason']);
        self::assertLessThan(3000, $took, 'it ends when nothing is left to wait for');
        self::assertSame([1, 0], [$stats['delivery_failures'], $stats['queued']]);
    }

    public function testManyFailuresAreCountedAndTheFirstThousandNamed(): void
    {
        [$failed, $message, $reported] = $this->without(<<<'PHP'
            for ($i = 0; $i < 5000; $i++) {
                Realtime::broadcast('user.1', 'e', $i);
            }
            try {
                Realtime::flush(50);
            } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                echo json_encode([count($e->getFailed()), $e->getMessage(), Realtime::stats()['queued']]);
            }
            PHP);
        self::assertSame(1000, $failed);
        self::assertStringContainsString('5000 message', $message);
        self::assertSame(5000, $reported);
    }

    public function testAnExceptionCreatedByAnApplicationNamesNoMessage(): void
    {
        self::assertSame([], (new DeliveryException('x'))->getFailed());
    }

    public function testBroadcastNeverWaitsForADeadOrSilentBroker(): void
    {
        foreach ([$this->deadAddress(), $this->silentAddress(), 'no-such-host.invalid:9092'] as $address) {
            $times = $this->without(<<<'PHP'
                for ($i = 0; $i < 500; $i++) {
                    $start = hrtime(true);
                    Realtime::broadcast('user.1', 'e', $i);
                    $times[] = (hrtime(true) - $start) / 1e6;
                }
                echo json_encode($times);
                PHP, $address);
            self::assertLessThan(100, $times[0], "the first broadcast to $address, in ms");
            sort($times);
            self::assertLessThan(1, $times[250], "the median to $address");
            self::assertLessThan(30, $times[494], "the 99th to $address");
        }
    }

    public function testSignalHandlersRunWhileItWaits(): void
    {
        $this->dead = $this->deadAddress();
        foreach (['Realtime::flush(3000);', 'Realtime::broker()->publishBatch([["a", "b", 1]], 3000);'] as $wait) {
            $child = $this->startPhp(<<<PHP
                pcntl_async_signals(true);
                pcntl_signal(SIGTERM, function () { throw new RuntimeException('a handler'); });
                Realtime::broadcast('a', 'b');
                echo "waiting\\n";
                \$start = hrtime(true);
                try {
                    $wait
                } catch (RuntimeException \$e) {
                    echo \$e->getMessage(), ' ', (int) ((hrtime(true) - \$start) / 1e9), "\\n";
                }
                PHP, ['env' => ['KAFKA_BROKERS' => $this->dead], 'ini' => ['toporia_realtime.shutdown_flush_ms' => '0']]);
            $child->waitForOutput('/^waiting$/m');
            // The signal must arrive within the wait, which begins after this line is printed.
            usleep(300_000);
            $lines = $child->signal(SIGTERM)->wait(10.0)->lines();
            self::assertSame(['waiting', 'a handler 0'], $lines, $wait);
        }
    }

    public function testNoSignalIsLostBetweenFlushesThatFail(): void
    {
        $this->dead = $this->deadAddress();
        $child = $this->startPhp(<<<'PHP'
            pcntl_async_signals(true);
            $got = false;
            pcntl_signal(SIGTERM, function () use (&$got) { $got = true; });
            Realtime::broadcast('a', 'b');
            echo "waiting\n";
            for ($i = 0; $i < 100 && !$got; $i++) {
                try {
                    Realtime::flush(100);
                } catch (Toporia\Realtime\Exception\DeliveryException) {
                }
            }
            echo $got ? "got it\n" : "nothing\n";
            PHP, ['env' => ['KAFKA_BROKERS' => $this->dead], 'ini' => ['toporia_realtime.shutdown_flush_ms' => '0']]);
        $child->waitForOutput('/^waiting$/m');
        // The signal must arrive within the wait, which begins after this line is printed.
        usleep(300_000);
        self::assertSame(['waiting', 'got it'], $child->signal(SIGTERM)->wait(15.0)->lines());
    }

    private string $dead = '';

    /** The JSON output of a script without a reachable Kafka that does not wait at its end. */
    private function without(string $code, ?string $address = null): mixed
    {
        $this->dead = $address ?? $this->deadAddress();

        return $this->runPhp($code, [
            'env' => ['KAFKA_BROKERS' => $this->dead],
            'ini' => ['toporia_realtime.shutdown_flush_ms' => '0'],
        ])->json();
    }
}
