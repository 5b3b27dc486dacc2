<?php

/**
 * Trace context from a callable: in every way of sending a message, and through everything that stores it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Tracing;

use PDO;
use RuntimeException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Outbox\Outbox;
use Toporia\Realtime\Outbox\Row;
use Toporia\Realtime\Outbox\Schema;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Consuming\ConsumingTestCase;
use Toporia\Realtime\Tracing\Tracing;

final class HeadersBrokerTest extends ConsumingTestCase
{
    private const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    private const OTHER = '00-11111111111111111111111111111111-2222222222222222-01';
    private const HEADERS = ['traceparent' => self::PARENT, 'tracestate' => 'a=1', 'baggage' => 'tenant=7'];

    private int $asked = 0;

    /** The event of a record that was read directly from its topic. */
    private static function event(Message $message): string
    {
        return json_decode((string) $message->getPayload(), true)['event'];
    }

    /**
     * @param array<string, mixed> $more
     */
    private function trace(mixed $tracing, array $more = []): void
    {
        Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => $this->config()],
            'tracing' => $tracing] + $more);
    }

    private function traceHeaders(): callable
    {
        return function (?Message $cause): array {
            $this->asked++;

            return self::HEADERS;
        };
    }

    public function testEverySendMethod(): void
    {
        $this->trace($this->traceHeaders());
        Realtime::broadcast('a', 'one', 1);
        Realtime::broadcast(['a', 'a.b'], 'two', 2);
        $broker = $this->broker();
        $broker->publish('a', Message::event('a', 'three'));
        $broker->publishBatch([['a', 'four', 4], Message::event('a', 'five')]);
        $broker->send($this->channelTopic('a'), 'raw');
        Realtime::flush();
        $messages = $this->consumeAll($this->channelTopic('a'), 6);
        self::assertCount(6, $messages);
        foreach ($messages as $message) {
            self::assertSame(self::HEADERS, $message->getHeaders());
            self::assertSame(self::HEADERS, Tracing::context($message));
        }
        self::assertSame(self::HEADERS, $this->consumeAll($this->channelTopic('a.b'), 1)[0]->getHeaders());
        self::assertSame(7, $this->asked);
    }

    public function testTheCallersHeadersWin(): void
    {
        $this->trace($this->traceHeaders());
        Realtime::broadcast('a', 'one', headers: ['traceparent' => self::OTHER, 'x' => 'y']);
        Realtime::broadcast('a', 'two', headers: ['baggage' => 'mine=1']);
        $this->broker()->publish('a', Message::event('a', 'three')->withHeaders(['traceparent' => self::OTHER]));
        Realtime::flush();
        $headers = [];
        foreach ($this->consumeAll($this->channelTopic('a'), 3) as $message) {
            $headers[self::event($message)] = $message->getHeaders();
        }
        self::assertSame(['traceparent' => self::OTHER, 'x' => 'y', 'baggage' => 'tenant=7'], $headers['one']);
        self::assertEquals(['baggage' => 'mine=1'] + self::HEADERS, $headers['two']);
        self::assertSame(['traceparent' => self::OTHER, 'baggage' => 'tenant=7'], $headers['three']);
    }

    public function testInvalidContextIsLeftOutAndReportedOnce(): void
    {
        $this->trace(static fn (): array => ['traceparent' => 'nonsense', 'baggage' => 'a=1', 'x-realtime-hops' => '7']);
        Realtime::broadcast('a', 'one');
        Realtime::broadcast('a', 'two');
        Realtime::flush();
        foreach ($this->consumeAll($this->channelTopic('a'), 2) as $message) {
            self::assertSame(['baggage' => 'a=1'], $message->getHeaders());
        }
        self::assertSame(1, substr_count($this->logged(), 'The tracer\'s header "traceparent" is not sent'));
    }

    public function testATracerThatThrowsDoesNotStopAnything(): void
    {
        $this->trace(static fn (): array => throw new RuntimeException('no trace today'));
        Realtime::broadcast('a', 'one');
        Realtime::broadcast('a', 'two');
        Realtime::flush();
        self::assertCount(2, $this->consumeAll($this->channelTopic('a'), 2));
        self::assertSame(1, substr_count($this->logged(), 'no trace today'));
    }

    public function testFalseDisablesIt(): void
    {
        $this->trace(false);
        Realtime::broadcast('a', 'one');
        Realtime::flush();
        self::assertSame([], $this->consumeAll($this->channelTopic('a'), 1)[0]->getHeaders());
        self::assertSame([], Tracing::headers());
    }

    public function testAnInvalidTracerIsRefused(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage("realtime.tracing is 'nobody'");
        $this->trace('nobody');
    }

    public function testTheCallableGetsTheMessageBeingHandled(): void
    {
        $causes = [];
        $this->trace(static function (?Message $cause) use (&$causes): array {
            $causes[] = $cause?->getEvent();

            return $cause === null ? [] : Tracing::context($cause);
        });
        $this->broker()->publish('in', Message::event('in', 'first')->withHeaders(self::HEADERS));
        Realtime::flush();
        $broker = $this->broker();
        $broker->subscribe('in', static function (Message $message): void {
            Realtime::broadcast('out', 'second');
        });
        $broker->consume(10_000, maxMessages: 1);
        Realtime::flush();
        self::assertSame([null, 'first'], $causes);
        $headers = $this->consumeAll($this->channelTopic('out'), 1)[0]->getHeaders();
        unset($headers['x-realtime-hops']);
        self::assertSame(self::HEADERS, $headers);
    }

    public function testAForwardedMessageGetsTheNewContextIfThereIsOne(): void
    {
        $this->trace(static fn (?Message $cause): array => $cause?->getEvent() === 'traced'
            ? ['traceparent' => self::OTHER]
            : []);
        $sender = $this->broker();
        $sender->publish('in', Message::event('in', 'traced')->withHeaders(self::HEADERS), 'k');
        $sender->publish('in', Message::event('in', 'kept')->withHeaders(self::HEADERS), 'k');
        Realtime::flush();
        $broker = $this->broker();
        $broker->subscribe('in', static function (Message $message) use ($broker): void {
            $broker->publish('out', $message);
        });
        $broker->consume(10_000, maxMessages: 2);
        Realtime::flush();
        $parents = [];
        foreach ($this->consumeAll($this->channelTopic('out'), 2) as $message) {
            $parents[self::event($message)] = Tracing::context($message);
        }
        self::assertSame(['traceparent' => self::OTHER], $parents['traced']);
        self::assertSame(self::HEADERS, $parents['kept']);
    }

    public function testADeadLetterKeepsItsContext(): void
    {
        $this->trace($this->traceHeaders());
        Realtime::broadcast('a', 'one');
        Realtime::flush();
        $this->trace(static fn (): array => ['traceparent' => self::OTHER]);
        $broker = $this->broker(['max_retries' => 0]);
        $broker->subscribe('a', static fn (Message $message) => throw new RuntimeException('no'));
        $broker->consume(10_000, maxMessages: 1);
        Realtime::flush();
        $letter = $this->consumeAll('dlq.' . $this->channelTopic('a'), 1)[0];
        self::assertSame(self::HEADERS, Tracing::context($letter));
    }

    public function testTheOutboxKeepsTheContextOfItsTransaction(): void
    {
        $this->trace($this->traceHeaders());
        $pdo = new PDO('sqlite::memory:');
        foreach (Schema::create($pdo) as $sql) {
            $pdo->exec($sql);
        }
        $outbox = new Outbox($pdo);
        $pdo->beginTransaction();
        $outbox->add('a', 'one', 1);
        $outbox->add('a', 'two', 2, headers: ['traceparent' => self::OTHER]);
        $pdo->commit();
        // The relay has its own context; the rows keep theirs.
        $this->trace(static fn (): array => ['traceparent' => '00-33333333333333333333333333333333-4444444444444444-01']);
        $relay = $this->broker();
        foreach ($pdo->query('SELECT * FROM ' . Outbox::TABLE . ' ORDER BY id', PDO::FETCH_ASSOC) as $row) {
            $message = Row::of($row)->message();
            $relay->publish((string) $message->getChannel(), $message);
        }
        Realtime::flush();
        $contexts = [];
        foreach ($this->consumeAll($this->channelTopic('a'), 2) as $message) {
            $contexts[self::event($message)] = Tracing::context($message);
        }
        self::assertSame(self::HEADERS, $contexts['one']);
        self::assertSame(['traceparent' => self::OTHER, 'baggage' => 'tenant=7'], $contexts['two']);
    }

    public function testTheSpoolKeepsTheContext(): void
    {
        $spool = sys_get_temp_dir() . '/realtime-trace-' . bin2hex(random_bytes(4));
        $config = var_export($this->config(['spool' => $spool, 'spool_when' => 'always']), true);
        $code = <<<PHP
            Realtime::configure(['brokers' => ['kafka' => $config], 'tracing' => static fn () => [
                'traceparent' => '%s']]);
            PHP;
        try {
            // Killed before Kafka has it: only the spool is left.
            $this->runPhp(sprintf($code, self::PARENT) . <<<'PHP'
                Realtime::broadcast('spooled', 'one', 1);
                posix_kill(getmypid(), SIGKILL);
                PHP, ['ini' => []]);
            $this->runPhp(sprintf($code, self::OTHER) . <<<'PHP'
                Realtime::broadcast('spooled', 'two', 2);
                Realtime::flush();
                $until = microtime(true) + 10;
                while (Realtime::stats()['spool_bytes'] > 0 && microtime(true) < $until) {
                    usleep(50_000);
                }
                PHP)->assertExit();
            $parents = [];
            foreach ($this->consumeAll($this->channelTopic('spooled'), 2) as $message) {
                $parents[self::event($message)] = $message->getHeaders()['traceparent'];
            }
            self::assertSame(self::OTHER, $parents['two']);
            self::assertSame(self::PARENT, $parents['one']);
        } finally {
            exec('rm -rf ' . escapeshellarg($spool));
        }
    }

    public function testHandleGivesAPolledMessageItsTrace(): void
    {
        $causes = [];
        $this->trace(static function (?Message $cause) use (&$causes): array {
            $causes[] = $cause?->getEvent();

            return [];
        });
        $message = Message::event('a', 'pulled');
        $answer = Tracing::handle($message, static fn (): array => Tracing::headers());
        self::assertSame([], $answer);
        Tracing::headers();
        self::assertSame(['pulled', null], $causes);
    }
}
