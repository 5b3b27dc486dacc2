<?php

/**
 * Topics that only Kafka refuses: missing ones, forbidden ones, and names that differ only by a dot.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\KafkaNode;

final class RefusedTopicsKafkaTest extends ProducingTestCase
{
    public function testATopicThatKafkaDoesNotCreate(): void
    {
        $strict = $this->broker(['produce' => 'sync'] + self::strict());
        $start = microtime(true);
        $message = self::thrown(
            UnknownTopicException::class,
            static fn () => $strict->publish('user.1', Message::event('user.1', 'e'))
        );
        self::assertStringContainsString($this->channelTopic('user.1'), $message);
        self::assertLessThan(6.0, microtime(true) - $start);
        KafkaNode::createTopic(self::strictAddress(), $this->channelTopic('user.2'));
        $strict->publish('user.2', Message::event('user.2', 'e'));
        self::assertSame(1, KafkaNode::count(self::strictAddress(), $this->channelTopic('user.2')));
    }

    public function testAsynchronouslyTheFlushReportsIt(): void
    {
        $strict = $this->broker(self::strict());
        $id = $strict->publish('user.1', Message::event('user.1', 'e'));
        $e = self::catch(DeliveryException::class, static fn () => Realtime::flush(20_000));
        self::assertSame([[$id, $this->channelTopic('user.1')]], array_map(
            static fn (array $failed) => [$failed['id'], $failed['topic']],
            $e->getFailed()
        ));
        self::assertStringContainsString('topic', strtolower($e->getFailed()[0]['reason']));
        Realtime::flush();
    }

    public function testATopicThatMayNotBeCreated(): void
    {
        $topic = $this->channelTopic('user.1');
        $sync = $this->broker(['auto_create_topics' => false, 'produce' => 'sync']);
        $start = microtime(true);
        $message = self::thrown(
            UnknownTopicException::class,
            static fn () => $sync->publish('user.1', Message::event('user.1', 'e'))
        );
        self::assertStringContainsString($topic, $message);
        self::assertLessThan(5.0, microtime(true) - $start);

        $broker = $this->broker(['auto_create_topics' => false]);
        $broker->publish('user.1', Message::event('user.1', 'e'));
        self::catch(DeliveryException::class, static fn () => Realtime::flush(10_000));
        // Already known: reported without waiting.
        $ms = self::time(fn () => self::thrown(
            UnknownTopicException::class,
            static fn () => $broker->publish('user.1', Message::event('user.1', 'e'))
        ));
        self::assertLessThan(500, $ms);
        self::assertSame([], self::partitions($topic), 'nothing was created by asking');

        $this->createTopic($topic, 3);
        self::eventually(static function () use ($broker): bool {
            try {
                $broker->publish('user.1', Message::event('user.1', 'at last'));

                return true;
            } catch (UnknownTopicException) {
                return false;
            }
        }, 'a topic that appears is found', 12.0);
        Realtime::flush();
        self::assertSame(['at last'], array_column($this->envelopes('user.1'), 'event'));
    }

    public function testAMappedTopicIsCreatedWithItsConfiguration(): void
    {
        $topic = "$this->prefix.grouped";
        $broker = $this->broker([
            'topic_strategy' => 'grouped',
            'topic_mapping' => ['user.*' => ['topic' => $topic, 'partitions' => 5, 'replication' => 1,
                'retention_ms' => 7_200_000]],
            'default_topic' => "$this->prefix.rest",
            'default_partitions' => 2,
        ]);
        for ($i = 0; $i < 500; $i++) {
            $broker->publish("user.$i", Message::event("user.$i", 'e', $i), 'one key');
        }
        $broker->publish('news', Message::event('news', 'e'));
        Realtime::flush();
        self::assertSame(range(0, 4), self::partitions($topic));
        self::assertSame([0, 1], self::partitions("$this->prefix.rest"));
        self::assertStringContainsString('retention.ms=7200000', self::tool(
            'org.apache.kafka.tools.TopicCommand',
            ['--describe', '--topic', $topic]
        ));
        $data = array_map(static fn (string $json) => json_decode($json, true)['data'], $this->payloads($topic, 500));
        self::assertSame(range(0, 499), $data, 'those that waited for the topic did not change places');
    }

    /** The broker refuses to create it, which looks like a topic that takes long: `produce: sync` waits longer. */
    public function testATopicThatDiffersByADotNamesTheExistingOne(): void
    {
        $this->createTopic("$this->prefix.a_b");
        $broker = $this->broker(['produce' => 'sync']);
        $message = self::thrown(InvalidChannelException::class, fn () => $broker->send("$this->prefix.a.b", 'x'));
        self::assertStringContainsString("$this->prefix.a.b", $message);
        self::assertStringContainsString("$this->prefix.a_b", $message);

        $grouped = $this->broker([
            'produce' => 'sync',
            'topic_strategy' => 'grouped',
            'topic_mapping' => ['user.*' => ['topic' => "$this->prefix.a.b", 'partitions' => 2]],
        ]);
        $message = self::thrown(
            InvalidChannelException::class,
            static fn () => $grouped->publish('user.1', Message::event('user.1', 'e'))
        );
        self::assertStringContainsString("$this->prefix.a_b", $message);
    }

    public function testAMessageLargerThanTheBrokersLimit(): void
    {
        $topic = $this->createTopic($this->channelTopic('user.1'));
        self::tool('kafka.admin.ConfigCommand', ['--alter', '--entity-type', 'topics', '--entity-name', $topic,
            '--add-config', 'max.message.bytes=2000']);
        $broker = $this->broker(['produce' => 'sync']);
        $message = self::thrown(
            MessageTooLargeException::class,
            static fn () => $broker->publish('user.1', Message::event('user.1', 'e', str_repeat('x', 5000)))
        );
        self::assertStringContainsString($topic, $message);
        $broker->publish('user.1', Message::event('user.1', 'small'));
        self::assertSame(['small'], array_column($this->envelopes('user.1'), 'event'));
    }

    /**
     * The Kafka without automatic topic creation; without the 15 s that new topics normally have to propagate.
     *
     * @return array<string, mixed>
     */
    private static function strict(): array
    {
        return [
            'brokers' => self::strictAddress(),
            'producer_config' => ['topic.metadata.propagation.max.ms' => 1500],
        ];
    }

    /** @return list<int> */
    private static function partitions(string $topic): array
    {
        $output = self::tool('org.apache.kafka.tools.TopicCommand', ['--describe', '--topic', $topic], true);
        preg_match_all('/Partition: (\d+)/', $output, $matches);

        return array_map('intval', $matches[1]);
    }

    /** @param list<string> $arguments */
    private static function tool(string $class, array $arguments, bool $mayFail = false): string
    {
        $command = [self::root() . '/tests/support/kafka.sh', 'tool', $class, '--bootstrap-server', self::address()];
        $result = (new ChildProcess([...$command, ...$arguments], getenv()))->wait(60.0);

        return ($mayFail ? $result : $result->assertExit())->stdout;
    }
}
