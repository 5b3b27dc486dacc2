<?php

/**
 * Our records as seen by Kafka's own tools, and the partitions that its own producer chooses for the same keys.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Message;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class WireFormatKafkaTest extends ProducingTestCase
{
    public function testKafkasConsumerReadsKeyHeadersAndValue(): void
    {
        $topic = $this->createTopic($this->topic());
        $broker = $this->broker();
        $broker->send($topic, 'value', 'key', ['via' => ['one', 'two'], 'none' => null, 'empty' => '', 'last' => '3']);
        $broker->send($topic, null, 'tombstone');
        $broker->publish('user.1', Message::event('user.1', 'e', 'é'), null, ['traceparent' => '00-1-2-01']);
        $broker->close();
        self::assertSame(
            ["via:one,via:two,none:null,empty:,last:3\tkey\tvalue", "NO_HEADERS\ttombstone\tnull"],
            $this->consoleConsumer($topic, 2)
        );
        $line = $this->consoleConsumer($this->channelTopic('user.1'), 1)[0];
        self::assertMatchesRegularExpression(
            '/\Atraceparent:00-1-2-01\tuser\.1\t\{"id":"[0-9a-f-]{36}","type":"event","channel":"user\.1","event":"e",'
            . '"data":"\\\\u00e9","timestamp":\d{10}}\z/',
            $line
        );
    }

    public function testKafkasProducerPutsTheSameKeysIntoTheSamePartitions(): void
    {
        $topic = $this->createTopic($this->topic(), 7);
        $keys = array_map(static fn (int $i) => "order-$i-é", range(1, 100));
        $lines = implode("\n", array_map(static fn (string $key) => "$key|theirs", $keys)) . "\n";
        $this->tool('org.apache.kafka.tools.ConsoleProducer', ['--topic', $topic, '--reader-property', 'parse.key=true',
            '--reader-property', 'key.separator=|'], $lines);
        $broker = $this->broker();
        foreach ($keys as $key) {
            $broker->send($topic, 'ours', $key);
        }
        $broker->close();
        $places = [];
        foreach ($this->consumeAll($topic, 200) as $message) {
            $places[$message->getPayload()][$message->getKey()] = $message->getPartition();
        }
        self::assertCount(100, $places['theirs']);
        ksort($places['theirs']);
        ksort($places['ours']);
        self::assertSame($places['theirs'], $places['ours']);
    }

    /** @return list<string> */
    private function consoleConsumer(string $topic, int $records): array
    {
        $output = $this->tool('org.apache.kafka.tools.consumer.ConsoleConsumer', ['--topic', $topic, '--from-beginning',
            '--max-messages', (string) $records, '--timeout-ms', '20000', '--formatter-property', 'print.headers=true',
            '--formatter-property', 'print.key=true']);

        return explode("\n", rtrim($output, "\n"));
    }

    /** @param list<string> $arguments */
    private function tool(string $class, array $arguments, string $input = ''): string
    {
        $command = [self::root() . '/tests/support/kafka.sh', 'tool', $class, '--bootstrap-server', self::address()];

        $process = new ChildProcess([...$command, ...$arguments], getenv(), null, $input);

        return $process->wait(60.0)->assertExit()->stdout;
    }
}
