<?php

/**
 * A Kafka that is killed during a script: unacknowledged messages are on disk, and the next process sends them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Spool;

use Toporia\Realtime\Message;
use Toporia\Realtime\Tests\Producing\ProducingTestCase;
use Toporia\Realtime\Tests\Support\KafkaNode;

final class SpoolOutageKafkaTest extends ProducingTestCase
{
    private ?KafkaNode $node = null;

    protected function tearDown(): void
    {
        $this->node?->stop();
        $this->node = null;
        parent::tearDown();
    }

    public function testNothingIsLostAndKeysKeepTheirOrder(): void
    {
        $this->node = KafkaNode::start();
        KafkaNode::createTopic($this->node->address, $this->channelTopic('user.1'), 3);
        $spool = $this->directory();
        $options = [
            'env' => ['KAFKA_BROKERS' => $this->node->address, 'REALTIME_SPOOL' => $spool],
            'ini' => ['toporia_realtime.shutdown_flush_ms' => '1500'],
            'timeout' => 40.0,
        ];
        $child = $this->startPhp(<<<'PHP'
            for ($i = 0; $i < 6000; $i++) {
                Realtime::broadcast('user.1', 'e', $i, 'key-' . $i % 5);
                if ($i === 2000) {
                    Realtime::flush();
                    echo "delivered\n";
                }
                if ($i > 2000 && $i % 10 === 0) {
                    usleep(1000);
                }
            }
            PHP, $options);
        $child->waitForOutput('/^delivered$/m');
        $this->node->kill();
        $result = $child->wait(20.0)->assertExit();
        self::assertLessThan(12.0, $result->seconds);
        self::assertStringNotContainsString('LOST', $result->stderr);
        self::assertNotSame([], glob("$spool/*/*.spool"));

        $this->node->restart();
        $drained = $this->runPhp(<<<'PHP'
            Realtime::broadcast('other', 'e');
            Realtime::flush(20_000);
            for ($i = 0; Realtime::stats()['spool_bytes'] > 0 && $i < 2000; $i++) {
                usleep(10_000);
            }
            echo Realtime::stats()['spool_bytes'];
            PHP, $options)->assertExit();
        self::assertSame('0', $drained->stdout, $drained->stderr);

        $perKey = [];
        $broker = $this->broker(['brokers' => $this->node->address]);
        $broker->subscribeTopic($this->channelTopic('user.1'), static function (Message $message) use (&$perKey): void {
            $data = json_decode((string) $message->getPayload(), true)['data'];
            $perKey[$message->getKey()][$data] = $data;
        });
        $broker->consume(500, 1000, 0, true);
        $broker->close();
        for ($key = 0; $key < 5; $key++) {
            // Messages in flight when Kafka was killed may be duplicated: the first one counts.
            self::assertSame(range($key, 5999, 5), array_values($perKey["key-$key"]), "key $key");
        }
    }
}
