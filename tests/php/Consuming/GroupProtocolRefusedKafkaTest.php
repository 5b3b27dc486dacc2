<?php

/**
 * group.protocol=consumer on a Kafka that has it disabled: consume(), stats() and the doctor name the way out.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\KafkaNode;

final class GroupProtocolRefusedKafkaTest extends BrokerTestCase
{
    private KafkaNode $node;

    protected function setUp(): void
    {
        parent::setUp();
        $this->node = KafkaNode::start(true, 'group.coordinator.rebalance.protocols=classic');
        Realtime::configure([]);
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        $this->node->stop();
    }

    public function testItIsRefusedWithTheWayOut(): void
    {
        KafkaNode::createTopic($this->node->address, $this->channelTopic('user.1'));
        $broker = $this->broker([
            'brokers' => $this->node->address,
            'consumer_config' => ['group.protocol' => 'consumer'],
        ]);
        $broker->subscribe('user.1', static function (): void {
        });
        $started = microtime(true);
        try {
            $broker->consume(stopWhenEmpty: true);
            self::fail('it cannot receive anything');
        } catch (ConfigurationException $error) {
            self::assertLessThan(10.0, microtime(true) - $started);
            self::assertStringContainsString('Remove "group.protocol" from consumer_config', $error->getMessage());
            self::assertSame($error->getMessage(), $broker->stats()['last_error']);
        }
    }

    public function testTheDoctorReportsIt(): void
    {
        $directory = sys_get_temp_dir() . "/realtime-test-$this->prefix";
        mkdir("$directory/config", 0777, true);
        foreach (['consumer' => true, 'classic' => false] as $protocol => $reported) {
            file_put_contents(
                "$directory/config/realtime.php",
                "<?php return ['consumer_config' => ['group.protocol' => '$protocol']];"
            );
            $doctor = $this->runConsole(
                ['realtime:doctor'],
                ['cwd' => $directory, 'env' => ['KAFKA_BROKERS' => $this->node->address]]
            );
            // The doctor cannot tell that a broker has disabled it, but says where a worker that ends would say so.
            $text = "a broker may have disabled group.protocol 'consumer'";
            // Lines are wrapped.
            $output = (string) preg_replace('/\s+/', ' ', $doctor->stdout);
            self::assertSame($reported, str_contains($output, $text), "$protocol: " . $doctor->describe());
        }
        exec('rm -rf ' . escapeshellarg($directory));
    }
}
