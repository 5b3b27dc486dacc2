<?php

/**
 * A changed broker list: the messages of the spool reach their cluster, and no other.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Spool;

use Toporia\Realtime\Tests\Producing\ProducingTestCase;
use Toporia\Realtime\Tests\Support\KafkaNode;

final class SpoolBrokersKafkaTest extends ProducingTestCase
{
    private const DRAIN = <<<'PHP'
        Realtime::broadcast('other', 'e');
        Realtime::flush(20_000);
        for ($i = 0; Realtime::stats()['spool_bytes'] > 0 && $i < 1000; $i++) {
            usleep(10_000);
        }
        usleep(500_000);
        PHP;

    private ?KafkaNode $node = null;

    protected function tearDown(): void
    {
        $this->node?->stop();
        $this->node = null;
        parent::tearDown();
    }

    public function testOtherBrokersOfTheSameClusterSendIt(): void
    {
        $this->node = KafkaNode::start();
        $port = (int) substr((string) strrchr($this->node->address, ':'), 1);
        $spool = $this->directory();
        $options = fn (string $brokers): array => [
            'env' => ['KAFKA_BROKERS' => $brokers, 'REALTIME_SPOOL' => $spool],
            'ini' => ['toporia_realtime.shutdown_flush_ms' => '1000'], 'timeout' => 40.0,
        ];
        $child = $this->startPhp(<<<'PHP'
            echo Realtime::broadcast('user.1', 'e', 'delivered'), "\n";
            Realtime::flush();
            echo "delivered\n";
            usleep(800_000);
            echo Realtime::broadcast('user.1', 'e', 'spooled'), "\n";
            PHP, $options("127.0.0.1:$port"));
        $child->waitForOutput('/^delivered$/m');
        $this->node->kill();
        [, , $id] = $child->wait(20.0)->assertExit()->lines();
        self::assertCount(1, glob("$spool/*/*.spool") ?: []);

        // Another cluster, with the same prefix and application, has nothing to do with them.
        $this->runPhp(self::DRAIN, $options(self::address()))->assertExit();
        self::assertCount(1, glob("$spool/*/*.spool") ?: [], 'never sent to another cluster');

        $this->node->restart();
        $list = $this->runConsole(['realtime:spool', '--json'], $options(self::address()));
        self::assertStringContainsString('"sent_by_this_configuration":false', $list->stdout, $list->describe());
        $list = $this->runConsole(['realtime:spool'], $options("localhost:$port"));
        self::assertStringContainsString('sent by the next process', $list->stdout, $list->describe());
        $this->runPhp(self::DRAIN, $options("localhost:$port"))->assertExit();
        self::assertSame([], glob("$spool/*/*.spool"));
        $found = [];
        $broker = $this->broker(['brokers' => $this->node->address]);
        $broker->subscribeTopic($this->channelTopic('user.1'), static function ($message) use (&$found): void {
            $found[] = json_decode((string) $message->getPayload(), true)['id'];
        });
        $broker->consume(500, 1000, 0, true);
        $broker->close();
        self::assertContains($id, $found);
    }

    public function testMessagesOfAnUnknownClusterWaitUntilTheyAreAdopted(): void
    {
        $spool = $this->directory();
        $id = $this->runPhp('echo Realtime::broadcast("user.2", "e");', [
            'env' => ['KAFKA_BROKERS' => '127.0.0.1:1', 'REALTIME_SPOOL' => $spool],
            'ini' => ['toporia_realtime.shutdown_flush_ms' => '0'],
        ])->assertExit()->stdout;
        $options = ['env' => ['KAFKA_BROKERS' => self::address(), 'REALTIME_SPOOL' => $spool]];
        $this->runPhp(self::DRAIN, $options)->assertExit();
        [$file] = glob("$spool/*/*.spool") ?: [''];
        self::assertFileExists($file, 'not sent by guess');
        $adopted = $this->runConsole(['realtime:spool', '--adopt=' . basename(dirname($file))], $options);
        self::assertSame(0, $adopted->exitCode, $adopted->describe());
        self::assertStringContainsString('1 message of ', $adopted->stdout);
        $this->runPhp(self::DRAIN, $options)->assertExit();
        self::assertFileDoesNotExist($file);
        self::assertContains($id, array_column($this->envelopes('user.2', 1), 'id'));
        self::assertSame(2, $this->runConsole(['realtime:spool', '--adopt=nothing'], $options)->exitCode);
    }
}
