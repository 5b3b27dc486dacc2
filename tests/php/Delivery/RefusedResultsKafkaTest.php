<?php

/**
 * Results that Kafka refuses for good: their record is dead-lettered, the others are handled, the worker goes on.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use PHPUnit\Framework\Attributes\DataProvider;
use RuntimeException;
use Throwable;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class RefusedResultsKafkaTest extends RefusedResultsTestCase
{
    /** @var list<string> */
    private array $handled = [];

    /** @return iterable<string, array{string, string, string}> */
    public static function refusals(): iterable
    {
        $reasons = ['compacted' => 'cannot accept message without key', 'small' => 'too large'];
        foreach (['at-least-once', 'exactly-once'] as $delivery) {
            foreach ($reasons as $refusal => $reason) {
                yield "$delivery, $refusal" => [$delivery, $refusal, $reason];
            }
        }
    }

    /** @dataProvider refusals */
    #[DataProvider('refusals')]
    public function testTheRecordOfARefusedResultIsDeadLettered(
        string $delivery,
        string $refusal,
        string $reason
    ): void {
        $this->produceNumbers(20);
        $out = $this->refusing($refusal);
        $failed = [];
        $broker = $this->forwarder($out, ['delivery' => $delivery]);
        $broker->onFailed(static function (Message $message, Throwable $why, ?int $retryInMs) use (&$failed): void {
            $failed[] = [$message->getPayload(), $why::class, $retryInMs];
        });
        self::assertSame(20, $this->drain($broker));
        self::assertSame(2, $broker->stats()['dead_lettered']);
        $broker->close();
        $expected = static fn (string $record) => [$record, DeliveryException::class, null];
        self::assertSame(array_map($expected, ['bad07', 'bad15']), $failed);

        $letters = $this->letters(2);
        self::assertSame(['bad07', 'bad15'], array_map(static fn ($letter) => $letter->getPayload(), $letters));
        foreach ($letters as $letter) {
            $headers = $letter->getHeaders();
            self::assertSame(DeliveryException::class, $headers['x-exception-class']);
            self::assertStringContainsString($reason, $headers['x-exception-message']);
            self::assertSame('1', $headers['x-attempts']);
        }
        self::assertSame([], $this->left(), 'the offset moves on');
        $results = $this->resultsOf($out);
        self::assertSame($this->goodNumbers(20), array_values(array_unique($results)), 'nothing is lost, in order');
        if ($delivery === 'exactly-once') {
            self::assertSame($this->goodNumbers(20), $results, 'each once');
        }
    }

    /** @return iterable<string, array{string}> */
    public static function deliveries(): iterable
    {
        yield 'at-least-once' => ['at-least-once'];
        yield 'exactly-once' => ['exactly-once'];
    }

    /** @dataProvider deliveries */
    #[DataProvider('deliveries')]
    public function testABatchCallbackIsCalledWithOneRecordAtATime(string $delivery): void
    {
        $this->publish('in', array_map(self::record(...), range(0, 19)));
        $out = $this->refusing('compacted');
        $broker = $this->broker(['delivery' => $delivery]);
        $broker->subscribeBatch('in', function (array $messages) use ($broker, $out): void {
            foreach ($messages as $message) {
                $this->forward($broker, $message->getData(), $out);
            }
        });
        self::assertSame(20, $this->drain($broker));
        $broker->close();
        $data = static fn (Message $letter) => json_decode((string) $letter->getPayload(), true)['data'];
        self::assertSame(['bad07', 'bad15'], array_map($data, $this->letters(2, $this->channelTopic('in'))));
        self::assertSame([], $this->rest('in'));
        self::assertSame($this->goodNumbers(20), array_values(array_unique($this->resultsOf($out))));
    }

    /** @dataProvider deliveries */
    #[DataProvider('deliveries')]
    public function testAWorkerThatHandlesOneRecordAndStopsDoesNotStayAtIt(string $delivery): void
    {
        $this->produce(['bad1', 'A2', 'A3']);
        $out = $this->refusing('compacted');
        foreach ([1, 2, 3] as $ignored) {
            $broker = $this->forwarder($out, ['delivery' => $delivery]);
            self::assertSame(1, $broker->consume(maxMessages: 1));
            $broker->close();
        }
        self::assertSame(['bad1'], $this->letterValues(1));
        self::assertSame(['A2', 'A3'], array_values(array_unique($this->resultsOf($out))));
        self::assertSame([], $this->left());
    }

    public function testBroadcastsAndPublishedMessagesAreResultsToo(): void
    {
        $channel = 'out';
        $out = $this->channelTopic($channel);
        (new Admin(['brokers' => self::address()]))->createTopic($out, 1, 1, ['max.message.bytes' => 5000]);
        $large = str_repeat('x', 20_000);
        $this->produce(['A1', 'B2', 'C3', 'D4']);
        Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => $this->config()]]);
        $broker = $this->broker();
        $broker->subscribeTopic($this->topic(), static function (Message $m) use ($broker, $channel, $large): void {
            match ($m->getPayload()) {
                'A1' => Realtime::broadcast($channel, 'e', $large),
                'B2' => Realtime::broadcast($channel, 'e', 'B2'),
                'C3' => $broker->publish($channel, Message::event($channel, 'e', $large)),
                'D4' => $broker->publish($channel, Message::event($channel, 'e', 'D4')),
            };
        });
        self::assertSame(4, $this->drain($broker));
        $broker->close();
        self::assertEqualsCanonicalizing(['A1', 'C3'], $this->letterValues(2));
        $decoded = static fn (Message $m) => json_decode((string) $m->getPayload(), true)['data'];
        $data = array_map($decoded, $this->consumeAll($out, 2));
        self::assertSame(['B2', 'D4'], array_values(array_unique($data)));
    }

    public function testATopicThatDoesNotExistAndMayNotBeCreated(): void
    {
        $this->produce(['A1', 'A2', 'A3']);
        $out = $this->createTopic($this->topic('out'));
        $this->createTopic("dlq.{$this->topic()}");
        $broker = $this->broker(['auto_create_topics' => false]);
        $broker->subscribeTopic($this->topic(), function (Message $message) use ($broker, $out): void {
            $broker->send($message->getPayload() === 'A2' ? "$out.missing" : $out, $message->getPayload(), 'k');
        });
        self::assertSame(3, $this->drain($broker));
        $broker->close();
        self::assertSame(['A2'], $this->letterValues(1));
        self::assertSame([], $this->left());
    }

    public function testWithoutDeadLettersTheExceptionEndsConsume(): void
    {
        $this->produceNumbers(10);
        $out = $this->refusing('compacted');
        $broker = $this->forwarder($out, ['dlq' => false]);
        $e = $this->refusal($broker);
        self::assertStringContainsString('cannot accept message without key', $e->getMessage());
        $broker->close();
        self::assertSame([0 => 7], array_filter($this->committed($this->topic())), 'its offset stays');
    }

    public function testAnExceptionThatTheCallbackCatchesIsItsOwnMatter(): void
    {
        $this->produceNumbers(10);
        $out = $this->refusing('compacted');
        $caught = 0;
        $broker = $this->broker(['produce' => 'sync']);
        $broker->subscribeTopic($this->topic(), function (Message $message) use ($broker, $out, &$caught): void {
            try {
                $this->forward($broker, (string) $message->getPayload(), $out);
            } catch (DeliveryException) {
                $caught++;
            }
        });
        self::assertSame(10, $this->drain($broker));
        self::assertSame([1, 0], [$caught, $broker->stats()['dead_lettered']]);
        $broker->close();
        self::assertSame([], $this->left());
    }

    /** @dataProvider deliveries */
    #[DataProvider('deliveries')]
    public function testADeadLetterTopicThatIsTooSmallGetsTheHeaders(string $delivery): void
    {
        (new Admin(['brokers' => self::address()]))
            ->createTopic("dlq.{$this->topic()}", 1, 1, ['max.message.bytes' => 1200]);
        $bad = 'bad' . str_repeat('x', 1200);
        $this->produce(['A1', $bad, 'A3']);
        $out = $this->refusing('compacted');
        $broker = $this->forwarder($out, ['delivery' => $delivery]);
        self::assertSame(3, $this->drain($broker));
        $broker->close();
        [$letter] = $this->letters(1);
        self::assertNull($letter->getPayload());
        self::assertSame('1', $letter->getHeaders()['x-original-offset']);
        self::assertSame([], $this->left());
        self::assertSame(['A1', 'A3'], array_values(array_unique($this->resultsOf($out))));
    }

    /** @dataProvider deliveries */
    #[DataProvider('deliveries')]
    public function testADeadLetterThatIsRefusedForGoodEndsConsumeWithTheReason(string $delivery): void
    {
        (new Admin(['brokers' => self::address()]))
            ->createTopic("dlq.{$this->topic()}", 1, 1, ['cleanup.policy' => 'compact']);
        // Dead letters keep the key of their record.
        $this->broker()->send($this->topic(), 'A1', 'A', [], 0);
        $this->broker()->send($this->topic(), 'bad2', null, [], 0);
        Realtime::flush();
        $broker = $this->forwarder($this->refusing('compacted'), ['delivery' => $delivery]);
        $e = $this->refusal($broker);
        self::assertStringContainsString(
            "The dead letter of the record in topic \"{$this->topic()}\" partition 0 offset 1 was not delivered",
            $e->getMessage()
        );
        self::assertStringContainsString('cannot accept message without key', $e->getMessage());
        $broker->close();
        self::assertSame([0 => 1], array_filter($this->committed($this->topic())), 'its offset stays');
    }

    public function testManyResultsInOneTransactionAreSentAgainInSmallerBatches(): void
    {
        $this->produce(['A1', 'A2']);
        $out = $this->refusing('small');
        $broker = $this->broker(['delivery' => 'exactly-once']);
        $broker->subscribeTopic($this->topic(), static function (Message $message) use ($broker, $out): void {
            for ($n = 0; $n < 300; $n++) {
                $broker->send($out, sprintf('%s-%03d', $message->getPayload(), $n) . str_repeat('x', 200), 'k');
            }
        });
        self::assertSame(2, $this->drain($broker));
        self::assertSame(0, $broker->stats()['dead_lettered']);
        $broker->close();
        $expected = [];
        foreach (['A1', 'A2'] as $record) {
            for ($n = 0; $n < 300; $n++) {
                $expected[] = sprintf('%s-%03d', $record, $n);
            }
        }
        $results = array_map(
            static fn (Message $message) => substr((string) $message->getPayload(), 0, 6),
            $this->consumeAll($out, 600)
        );
        self::assertSame($expected, $results, 'each once, in order');
    }

    public function testAnExceptionOfTheApplicationIsStillTriedAgain(): void
    {
        $this->produceNumbers(20);
        $out = $this->refusing('compacted');
        $broker = $this->broker(['delivery' => 'exactly-once']);
        $tries = 0;
        $broker->subscribeTopic($this->topic(), function (Message $message) use ($broker, $out, &$tries): void {
            $this->forward($broker, (string) $message->getPayload(), $out);
            if ($message->getPayload() === 'A11' && ++$tries < 3) {
                throw new RuntimeException('later');
            }
        });
        self::assertSame(20, $this->drain($broker));
        $broker->close();
        self::assertSame(['bad07', 'bad15'], $this->letterValues(2));
        self::assertSame($this->goodNumbers(20), $this->resultsOf($out));
    }

    private function refusal(Broker $broker): DeliveryException
    {
        try {
            $this->drain($broker);
        } catch (DeliveryException $e) {
            return $e;
        }
        self::fail('no exception');
    }
}
