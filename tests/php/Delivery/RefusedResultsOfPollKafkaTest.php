<?php

/**
 * poll() and ack() with results that Kafka refuses for good: their message becomes a dead letter, the others are handled.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use PHPUnit\Framework\Attributes\DataProvider;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;

final class RefusedResultsOfPollKafkaTest extends RefusedResultsTestCase
{
    /** @return iterable<string, array{string, string, int}> */
    public static function loops(): iterable
    {
        foreach (['compacted' => 'cannot accept message without key', 'small' => 'too large'] as $refusal => $reason) {
            foreach ([1, 6, 20] as $atOnce) {
                yield "$refusal, $atOnce at once" => [$refusal, $reason, $atOnce];
            }
        }
    }

    /** @dataProvider loops */
    #[DataProvider('loops')]
    public function testTheMessageOfARefusedResultIsDeadLettered(string $refusal, string $reason, int $atOnce): void
    {
        $this->produceNumbers(20);
        $out = $this->refusing($refusal);
        $failed = [];
        $broker = $this->broker()->subscribeTopic($this->topic());
        $broker->onFailed(static function (Message $message, Throwable $why, ?int $retryInMs) use (&$failed): void {
            $failed[] = [$message->getPayload(), $why::class, $retryInMs];
        });
        $this->loop($broker, $out, $atOnce);
        self::assertSame(2, $broker->stats()['dead_lettered']);
        $broker->close();
        $expected = static fn (string $record) => [$record, DeliveryException::class, null];
        self::assertSame(array_map($expected, ['bad07', 'bad15']), $failed);
        foreach ($this->letters(2) as $letter) {
            self::assertStringContainsString($reason, $letter->getHeaders()['x-exception-message']);
            self::assertSame('1', $letter->getHeaders()['x-attempts']);
        }
        self::assertSame(['bad07', 'bad15'], $this->letterValues(2));
        self::assertSame([], $this->left(), 'the offset moves on');
        $results = $this->resultsOf($out);
        self::assertSame($this->goodNumbers(20), array_values(array_unique($results)), 'nothing is lost, in order');
    }

    public function testAProcessForEachMessageMovesOn(): void
    {
        $this->produce(['A1', 'bad2', 'A3']);
        $out = $this->refusing('compacted');
        foreach (['A1', 'bad2', 'A3'] as $expected) {
            $broker = $this->broker()->subscribeTopic($this->topic());
            $message = $broker->poll(15_000);
            self::assertSame($expected, $message?->getPayload());
            $this->forward($broker, $expected, $out);
            $broker->ack($message);
            $broker->close();
        }
        self::assertSame(['bad2'], $this->letterValues(1));
        self::assertSame(['A1', 'A3'], $this->resultsOf($out));
    }

    public function testTheResultsOfARejectedAttemptDoNotCount(): void
    {
        $this->produce(['A1', 'bad2', 'A3']);
        $out = $this->refusing('compacted');
        $broker = $this->broker()->subscribeTopic($this->topic());
        $done = [];
        $message = null;
        while (count($done) < 3 || $message !== null) {
            $message = $broker->poll(2000);
            if ($message === null) {
                continue;
            }
            $record = (string) $message->getPayload();
            // It is sent with a key at the second attempt.
            $this->forward($broker, $record === 'bad2' && $message->getAttempt() > 1 ? 'A2' : $record, $out);
            if ($record === 'bad2' && $message->getAttempt() === 1) {
                $broker->nack($message);
                continue;
            }
            $broker->ack($message);
            $done[$record] = true;
        }
        self::assertCount(3, $done);
        $broker->close();
        self::assertSame(0, $broker->stats()['dead_lettered']);
        self::assertSame([], $this->left());
        self::assertEqualsCanonicalizing(['A1', 'A2', 'A3'], array_unique($this->resultsOf($out)));
    }

    public function testWithoutDeadLettersAckThrowsAndTheOffsetStays(): void
    {
        $this->produce(['A1', 'bad2', 'A3']);
        $broker = $this->broker(['dlq' => false, 'retry_backoff_max_ms' => 60_000])->subscribeTopic($this->topic());
        $out = $this->refusing('compacted');
        $thrown = [];
        for ($end = microtime(true) + 30; $thrown === [] && microtime(true) < $end;) {
            $message = $broker->poll(500);
            if ($message === null) {
                continue;
            }
            $this->forward($broker, (string) $message->getPayload(), $out);
            try {
                $broker->ack($message);
            } catch (DeliveryException $e) {
                $thrown[] = $message->getPayload() . ': ' . $e->getMessage();
            }
        }
        self::assertCount(1, $thrown);
        self::assertStringStartsWith('bad2: ', $thrown[0]);
        self::assertStringContainsString('cannot accept message without key', $thrown[0]);
        $broker->close();
        self::assertSame(['bad2', 'A3'], $this->left());
    }

    public function testAMessageThatIsNeitherAcknowledgedNorRejectedIsNamedInTheLog(): void
    {
        $this->produce(['A1', 'bad2', 'A3']);
        $out = $this->refusing('compacted');
        $broker = $this->broker()->subscribeTopic($this->topic());
        for ($n = 0; $n < 3; $n++) {
            $message = $broker->poll(15_000);
            self::assertNotNull($message);
            $this->forward($broker, (string) $message->getPayload(), $out);
        }
        self::eventually(function () use ($broker): bool {
            $broker->poll(300);

            return str_contains($this->logged(), 'Broker::poll() waits for ack() or nack() of the message in topic');
        }, 'the log names the message');
        self::assertNull($broker->poll(300));
    }

    /** Forwards 20 messages, as a loop that collects some of them first. */
    private function loop(Broker $broker, string $out, int $atOnce): void
    {
        $acknowledged = [];
        $end = microtime(true) + 60;
        while (count($acknowledged) < 20) {
            self::assertLessThan($end, microtime(true), 'not all messages came');
            $messages = [];
            for ($n = 0; $n < $atOnce; $n++) {
                $message = $broker->poll($n === 0 ? 1000 : 200);
                if ($message === null) {
                    break;
                }
                $messages[] = $message;
            }
            foreach ($messages as $message) {
                $this->forward($broker, (string) $message->getPayload(), $out);
            }
            foreach ($messages as $message) {
                $broker->ack($message);
                $acknowledged[(string) $message->getPayload()] = true;
            }
        }
        // What Kafka refused may not be known yet.
        for ($end = microtime(true) + 20; $broker->stats()['dead_lettered'] < 2 && microtime(true) < $end;) {
            $message = $broker->poll(500);
            if ($message !== null) {
                $this->forward($broker, (string) $message->getPayload(), $out);
                $broker->ack($message);
            }
        }
        while (($message = $broker->poll(1000)) !== null) {
            $this->forward($broker, (string) $message->getPayload(), $out);
            $broker->ack($message);
        }
    }
}
