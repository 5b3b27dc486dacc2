<?php

/**
 * A Kafka that freezes, is killed and restarts while a process broadcasts: no message is lost or duplicated.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\KafkaNode;

final class OutageKafkaTest extends BrokerTestCase
{
    private KafkaNode $node;

    protected function setUp(): void
    {
        parent::setUp();
        $this->node = KafkaNode::start();
        KafkaNode::createTopic($this->node->address, $this->channelTopic('user.1'));
    }

    protected function tearDown(): void
    {
        $this->node->stop();
        parent::tearDown();
    }

    public function testAFrozenBrokerBlocksNoCaller(): void
    {
        $child = $this->startPhp($this->script(), ['env' => ['KAFKA_BROKERS' => $this->node->address]]);
        $child->waitForOutput('/^first delivered$/m');
        $this->node->pause();
        touch($this->signalFile());
        $slowest = (float) $child->waitForOutput('/^slowest broadcast: ([\d.]+) ms$/m')[1];
        $this->node->continue();
        $child->wait(60.0)->assertExit();

        self::assertLessThan(50.0, $slowest);
        self::assertSame(2000, KafkaNode::count($this->node->address, $this->channelTopic('user.1')));
    }

    public function testAKilledBrokerHasEveryMessageOnceAfterItsRestart(): void
    {
        $child = $this->startPhp($this->script(), ['env' => ['KAFKA_BROKERS' => $this->node->address]]);
        $child->waitForOutput('/^first delivered$/m');
        $this->node->kill();
        touch($this->signalFile());
        $child->waitForOutput('/^slowest broadcast: /m');
        $this->node->restart();
        $child->wait(60.0)->assertExit();

        self::assertSame(2000, KafkaNode::count($this->node->address, $this->channelTopic('user.1')));
    }

    private function signalFile(): string
    {
        return sys_get_temp_dir() . "/realtime-test-$this->prefix";
    }

    /** Broadcasts 1000, reports it, waits for the outage, broadcasts 1000 more, waits until all are acknowledged. */
    private function script(): string
    {
        return '$file = ' . var_export($this->signalFile(), true) . ';' . <<<'PHP'
            for ($i = 0; $i < 1000; $i++) {
                Realtime::broadcast('user.1', 'order.created', ['id' => $i]);
            }
            Realtime::flush();
            echo "first delivered\n";
            while (!file_exists($file)) {
                usleep(10_000);
                clearstatcache();
            }
            $slowest = 0;
            for ($i = 1000; $i < 2000; $i++) {
                $start = hrtime(true);
                Realtime::broadcast('user.1', 'order.created', ['id' => $i]);
                $slowest = max($slowest, hrtime(true) - $start);
            }
            printf("slowest broadcast: %.3f ms\n", $slowest / 1e6);
            unlink($file);
            Realtime::flush(40_000);
            PHP;
    }
}
