<?php

/**
 * fork(): children send through their own clients, the parent keeps its client, and no process hangs at its end.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

final class ForkBrokerTest extends ProducingTestCase
{
    public function testEightChildrenSendTheirMessages(): void
    {
        $this->createTopic($this->channelTopic('fork'), 4);
        $result = $this->runPhp(<<<'PHP'
            Realtime::broadcast('fork', 'parent', 'before');
            Realtime::broker()->publish('fork', Message::event('fork', 'parent', 'broker'));
            for ($child = 0; $child < 8; $child++) {
                if (pcntl_fork() === 0) {
                    $start = microtime(true);
                    for ($i = 0; $i < 600; $i++) {
                        Realtime::broadcast('fork', "child-$child", $i, "child-$child");
                    }
                    $sent = Realtime::stats()['messages_produced'];
                    $took = microtime(true) - $start;
                    file_put_contents('php://stdout', "$sent\n");
                    exit;
                }
            }
            for ($child = 0; $child < 8; $child++) {
                pcntl_wait($status);
                if (!pcntl_wifexited($status) || pcntl_wexitstatus($status) !== 0) {
                    echo "status $status\n";
                }
            }
            Realtime::broadcast('fork', 'parent', 'after');
            PHP)->assertExit();
        self::assertSame(array_fill(0, 8, '600'), $result->lines(), 'each child counts for itself');
        self::assertSame('', $result->stderr);
        self::assertLessThan(6.0, $result->seconds);

        $perChild = [];
        $envelopes = $this->envelopes('fork', 4803);
        foreach ($envelopes as $envelope) {
            $perChild[$envelope['event']][] = $envelope['data'];
        }
        self::assertEqualsCanonicalizing(['before', 'broker', 'after'], $perChild['parent']);
        for ($child = 0; $child < 8; $child++) {
            self::assertSame(range(0, 599), $perChild["child-$child"], "child $child, in order");
        }
        self::assertCount(4803, array_unique(array_column($envelopes, 'id')), 'no id twice, in any process');
    }

    public function testAChildThatSendsNothingExitsImmediatelyWithoutAClient(): void
    {
        $result = $this->runPhp(<<<'PHP'
            Realtime::broadcast('fork', 'first');
            Realtime::flush();
            for ($i = 0; $i < 50; $i++) {
                Realtime::broadcast('fork', 'waiting', $i);
            }
            if (($pid = pcntl_fork()) === 0) {
                $stats = Realtime::stats();
                echo json_encode([$stats['clients'], $stats['queued'], $stats['messages_produced']]), "\n";
                exit;
            }
            $start = microtime(true);
            pcntl_waitpid($pid, $status);
            echo json_encode([$status, microtime(true) - $start < 1.0]), "\n";
            PHP)->assertExit();
        self::assertSame(['[0,0,0]', '[0,true]'], $result->lines());
        self::assertCount(51, $this->envelopes('fork', 51), 'the parent has sent its own, once');
    }

    public function testABrokerObjectOfTheParentWorksInTheChild(): void
    {
        $result = $this->runPhp(<<<'PHP'
            $broker = new Broker(['produce' => 'sync']);
            $broker->publish('fork', Message::event('fork', 'parent'));
            $default = Realtime::broker();
            $default->publish('fork', Message::event('fork', 'parent default'));
            if (($pid = pcntl_fork()) === 0) {
                $broker->publish('fork', Message::event('fork', 'child sync'));
                $default->publish('fork', Message::event('fork', 'child default'));
                $broker->publishBatch([['fork', 'child batch']]);
                if (($grandchild = pcntl_fork()) === 0) {
                    $broker->publish('fork', Message::event('fork', 'grandchild'));
                    exit;
                }
                pcntl_waitpid($grandchild, $status);
                $broker->close();
                exit($status);
            }
            pcntl_waitpid($pid, $status);
            $broker->publish('fork', Message::event('fork', 'parent after'));
            echo $status;
            PHP)->assertExit();
        self::assertSame(['0', ''], [$result->stdout, $result->stderr]);
        $events = array_column($this->envelopes('fork', 7), 'event');
        sort($events);
        self::assertSame(
            ['child batch', 'child default', 'child sync', 'grandchild', 'parent', 'parent after', 'parent default'],
            $events
        );
    }

    public function testAChildWithoutABrokerReportsItsOwnOnly(): void
    {
        $result = $this->runPhp(<<<'PHP'
            ini_set('toporia_realtime.shutdown_flush_ms', '200');
            $parent = Realtime::broadcast('fork', 'parent');
            if (($pid = pcntl_fork()) === 0) {
                echo 'child ', Realtime::broadcast('fork', 'child'), "\n";
                exit;
            }
            pcntl_waitpid($pid, $status);
            echo "status $status\nparent $parent\n";
            PHP, ['env' => ['KAFKA_BROKERS' => $this->deadAddress()]])->assertExit();
        [$child, $status, $parent] = $result->lines();
        self::assertSame('status 0', $status);
        foreach ([$child, $parent] as $line) {
            $id = explode(' ', $line)[1];
            self::assertSame(1, substr_count($result->stderr, $id), $result->stderr);
        }
    }

    public function testForkingWithThousandsInFlight(): void
    {
        $result = $this->runPhp(<<<'PHP'
            for ($i = 0; $i < 3000; $i++) {
                Realtime::broadcast('fork', 'parent', $i, 'parent');
                if ($i % 500 === 250 && pcntl_fork() === 0) {
                    Realtime::broadcast('fork', 'child', $i, 'child');
                    exit;
                }
            }
            while (pcntl_wait($status) > 0) {
                echo $status;
            }
            PHP)->assertExit();
        self::assertSame('000000', $result->stdout);
        $events = array_count_values(array_column($this->envelopes('fork', 3006), 'event'));
        ksort($events);
        self::assertSame(['child' => 6, 'parent' => 3000], $events);
    }

    public function testForkingWhileTheParentConnects(): void
    {
        // Name resolution takes a lock of the C library that fork() copies in its locked state.
        $result = $this->runPhp(<<<'PHP'
            ini_set('toporia_realtime.shutdown_flush_ms', '50');
            for ($i = 0; $i < 40; $i++) {
                (new Broker(['application' => "app-$i"]))->publish('fork', Message::event('fork', 'parent'));
                if (pcntl_fork() === 0) {
                    (new Broker(['application' => "app-$i"]))->publish('fork', Message::event('fork', 'child'));
                    exit;
                }
            }
            $ended = 0;
            while (pcntl_wait($status) > 0) {
                $ended += (int) ($status === 0);
            }
            echo $ended;
            PHP, ['env' => ['KAFKA_BROKERS' => $this->deadAddress()], 'timeout' => 15.0])->assertExit();
        self::assertSame('40', $result->stdout);
    }
}
