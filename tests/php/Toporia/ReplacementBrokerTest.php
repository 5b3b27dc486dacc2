<?php

/**
 * The framework's manager with broker kafka uses ours, in both generations: class, topics, bytes, callbacks, failures.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Toporia;

use PHPUnit\Framework\Attributes\DataProvider;

final class ReplacementBrokerTest extends ToporiaTestCase
{
    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testTheManagerCreatesOurBrokerUnderItsOwnClassName(string $generation): void
    {
        $result = $this->startToporia($generation, '
            $before = class_exists("Toporia\Framework\Realtime\Brokers\KafkaBroker", false);
            $broker = $manager->broker("kafka");
            echo json_encode([
                $before,
                $broker instanceof Toporia\Framework\Realtime\Brokers\KafkaBroker,
                $broker instanceof Toporia\Realtime\Toporia\KafkaBroker,
                $broker->getName(),
                $broker->isConnected(),
                $manager->broker("unknown"),
            ]);
        ')->wait();
        self::assertSame([false, true, true, 'kafka', true, null], $result->json());
    }

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testBytesAndTopicsAreTheFrameworks(string $generation): void
    {
        $message = $this->startToporia($generation, '
            $manager->broadcast("user.1", "order.created", ["id" => 7, "name" => "é/x"]);
            $message = Toporia\Framework\Realtime\Message::event("anything.else", "other", 1.5);
            $manager->broker()->publish("anything.else", $message);
            echo json_encode($message->toJson());
        ')->wait()->json();

        [$record] = $this->consumeAll("$this->prefix.user", 1);
        self::assertStringStartsWith('{"id":"msg_', (string) $record->getPayload());
        self::assertStringContainsString('"data":{"id":7,"name":"\u00e9\/x"}', (string) $record->getPayload());
        self::assertSame('user.1', $record->getKey());
        [$other] = $this->consumeAll("$this->prefix.default", 1);
        self::assertSame($message, $other->getPayload(), 'Not byte for byte what toJson() gives.');
    }

    public function testAMessageOnAnotherChannelReachesTheSubscribersOfThatChannel(): void
    {
        $this->startToporia('Newer', '
            $message = Toporia\Framework\Realtime\Message::event("anything.else", "other", ["n" => 1.5, "s" => "/"]);
            $manager->broker()->publish("user.1", $message);
            $manager->broker()->publishBatch([["channel" => "user.2", "message" => $message]]);
        ')->wait()->assertExit();
        foreach ($this->consumeAll("$this->prefix.user", 2) as $record) {
            $envelope = json_decode((string) $record->getPayload(), true);
            self::assertSame($record->getKey(), $envelope['channel']);
            self::assertStringContainsString('"data":{"n":1.5,"s":"\/"}', (string) $record->getPayload());
        }
    }

    public function testTheDefaultMappingComesFromTheFramework(): void
    {
        $code = '$manager->broadcast("events.a.b", "x", 1); $manager->broadcast("user.1.orders", "y", 1);';
        $this->startToporia('Newer', $code)->wait()->assertExit();
        self::assertContains('events.a.b', array_column($this->envelopes('events.stream'), 'channel'));
        // In the newer generation * matches one segment, in the older one any number.
        self::assertSame('user.1.orders', $this->envelopes("$this->prefix.default")[0]['channel']);
        $this->startToporia('Older', $code)->wait()->assertExit();
        self::assertSame('user.1.orders', $this->envelopes("$this->prefix.user")[0]['channel']);
    }

    /** @return array<string, array{0: string, 1: string, 2: string}> */
    public static function strategies(): array
    {
        return [
            'one-per-channel keeps dots, as theirs does' => ['Newer', 'one-per-channel', '_user.1'],
            'in the older one, too' => ['Older', 'one-per-channel', '_user.1'],
            'the guides\' topics by a setting' => ['Newer', 'one-per-channel-underscores', '_user_1'],
        ];
    }

    /** @dataProvider strategies */
    #[DataProvider('strategies')]
    public function testOneTopicPerChannel(string $generation, string $strategy, string $topic): void
    {
        $this->startToporia(
            $generation,
            '$manager->broadcast("user.1", "order.created", 1);',
            ['topic_strategy' => $strategy]
        )->wait()->assertExit();
        self::assertCount(1, $this->envelopes($this->prefix . $topic));
    }

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testCallbacksTypedToTheFrameworksMessageAndTheSameEventAgain(string $generation): void
    {
        $result = $this->startToporia($generation, '
            use Toporia\Framework\Realtime\Message as TheirMessage;
            $broker = $manager->broker("kafka");
            $manager->broadcast("user.1", "first", ["b" => 1, "a" => [1, 2]]);
            $manager->broadcast("user.1", "last", null);
            $received = [];
            $broker->subscribe("user.1", function (TheirMessage $message) use ($manager, $broker, &$received): void {
                $received[] = [$message->getEvent(), $message->getData(), substr($message->getId(), 0, 4)];
                $manager->broadcast($message->getChannel(), $message->getEvent(), $message->getData());
                if ($message->getEvent() === "last") {
                    $broker->stopConsuming();
                }
            });
            $subscribed = $broker->getSubscriberCount("user.1");
            $broker->consume(1000, 100);
            $broker->unsubscribe("user.1");
            echo json_encode([$received, count($manager->local), $subscribed, $broker->getSubscriberCount("user.1")]);
        ')->wait();
        self::assertSame(
            [[['first', ['b' => 1, 'a' => [1, 2]], 'msg_'], ['last', null, 'msg_']], 4, 1, 0],
            $result->json(),
            $result->describe()
        );
        self::assertCount(2, $this->envelopes("$this->prefix.user", 2), 'What came from Kafka went there again.');
    }

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testAnUnreachableKafkaDoesNotDelayThePage(string $generation): void
    {
        $result = $this->startToporia($generation, '
            $start = microtime(true);
            $manager->broadcast("user.1", "order.created", 1);
            echo json_encode([$manager->local, microtime(true) - $start < 0.5]);
        ', ['brokers' => ['127.0.0.1:1']], ['ini' => ['toporia_realtime.shutdown_flush_ms' => '100']])->wait();
        self::assertSame([['user.1 order.created'], true], $result->json());
    }

    public function testFailuresAreTheExceptionsThatTheNewerManagerCatches(): void
    {
        $result = $this->startToporia('Newer', '
            use Toporia\Framework\Realtime\Exceptions\BrokerException;
            $answers = [];
            $manager->broadcast("user.1", "too.large", str_repeat("x", 2_000_000));
            $answers[] = $manager->local;
            try {
                $manager->broker()->publish("bad\nchannel", Toporia\Framework\Realtime\Message::event(null, "x", 1));
            } catch (BrokerException $e) {
                $answers[] = get_class($e->getPrevious());
            }
            $foreign = new class implements Toporia\Framework\Realtime\Contracts\MessageInterface {
                public function getId(): string { return "1"; }
                public function getType(): string { return "event"; }
                public function getChannel(): ?string { return null; }
                public function getEvent(): ?string { return null; }
                public function getData(): mixed { return null; }
                public function getTimestamp(): int { return 1; }
                public function toJson(): string { return "not an envelope"; }
                public function toArray(): array { return []; }
                public static function fromJson(string $json): static { return new self(); }
                public static function fromArray(array $data): static { return new self(); }
            };
            foreach ([fn ($b) => $b->publish("user.1", $foreign), fn ($b) => $b->subscribe("", fn () => null)] as $call) {
                try {
                    $call($manager->broker());
                } catch (BrokerException $e) {
                    $answers[] = get_class($e->getPrevious());
                }
            }
            $manager->broker()->disconnect();
            try {
                $manager->broker()->publish("user.1", Toporia\Framework\Realtime\Message::event("user.1", "x", 1));
            } catch (BrokerException $e) {
                $answers[] = $e->getMessage();
            }
            try {
                $config["brokers"]["kafka"]["topic_prefx"] = "x";
                (new RealtimeManager($config))->broker("kafka");
            } catch (BrokerException $e) {
                $answers[] = $e->getMessage();
            }
            echo json_encode($answers);
        ')->wait();
        [$local, $previous, $encoding, $subscribing, $disconnected, $mistake] = $result->json();
        self::assertSame(['user.1 too.large'], $local);
        self::assertSame('Toporia\Realtime\Exception\InvalidChannelException', $previous);
        self::assertSame('Toporia\Realtime\Exception\EncodingException', $encoding);
        self::assertSame('Toporia\Realtime\Exception\InvalidChannelException', $subscribing);
        self::assertStringContainsString('is disconnected', $disconnected);
        self::assertStringContainsString("Unknown setting 'topic_prefx'", $mistake);
        self::assertStringContainsString("Did you mean 'topic_prefix'?", $mistake);
    }

    public function testASynchronousCallThrowsTheFrameworksExceptionWhenKafkaIsDown(): void
    {
        $result = $this->startToporia('Newer', '
            use Toporia\Framework\Realtime\Exceptions\BrokerException;
            $manager->broadcast("user.1", "forgiven", 1);
            $answers = [count($manager->local)];
            try {
                $message = Toporia\Framework\Realtime\Message::event("user.1", "thrown", 1);
                $manager->broker()->publish("user.1", $message);
            } catch (BrokerException $e) {
                $answers[] = get_class($e->getPrevious());
                $answers[] = $e->getContext()["broker"];
            }
            echo json_encode($answers);
        ', [
            'brokers' => ['127.0.0.1:1'],
            'topic_strategy' => 'one-per-channel',
            'produce' => 'sync',
            'producer_config' => ['message.timeout.ms' => '500'],
        ], ['ini' => ['toporia_realtime.shutdown_flush_ms' => '100']])->wait(30.0);
        self::assertSame([1, 'Toporia\Realtime\Exception\ConnectionException', 'kafka'], $result->json());
        self::assertStringContainsString('Broker publish failed', $result->stderr);
    }

    public function testInTheOlderGenerationOurExceptionsAreThrownUnchanged(): void
    {
        $result = $this->startToporia('Older', '
            try {
                $manager->broadcast("bad\nchannel", "x", 1);
            } catch (Toporia\Realtime\Exception\InvalidChannelException $e) {
                echo json_encode($manager->local);
            }
        ')->wait();
        self::assertCount(1, $result->json());
    }

    /** @dataProvider generations */
    #[DataProvider('generations')]
    public function testWithoutTheExtensionOnlyUsingKafkaFails(string $generation): void
    {
        $result = $this->startToporia($generation, '
            $manager->broker("kafka");
            try {
                $manager->broadcast("user.1", "x", 1);
                $why = "forgiven";
            } catch (Toporia\Realtime\Exception\ExtensionMissingException $e) {
                $why = $e->getMessage();
            }
            $fake = Toporia\Realtime\Realtime::fake();
            $manager->broadcast("user.1", "faked", ["a" => 1]);
            $fake->assertBroadcast("user.1", "faked");
            echo json_encode([$why, count($manager->local)]);
        ', [], ['extension' => false])->wait();
        [$why, $local] = $result->json();
        self::assertSame(2, $local);
        if ($generation === 'Newer') {
            self::assertSame('forgiven', $why);
            $why = $result->stderr;
            self::assertStringContainsString('Broker publish failed', $why);
        }
        self::assertStringContainsString('needs the PHP extension toporia_realtime', $why);
    }
}
