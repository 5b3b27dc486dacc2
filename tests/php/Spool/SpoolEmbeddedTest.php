<?php

/**
 * The spool: unacknowledged messages wait on disk and are sent by the next process, or later by the same one.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Spool;

use Toporia\Realtime\Message;

final class SpoolEmbeddedTest extends SpoolTestCase
{
    public function testTheNextProcessSendsTheSpooledMessages(): void
    {
        $result = $this->spooling(<<<'PHP'
            for ($i = 0; $i < 300; $i++) {
                $ids[] = Realtime::broadcast('user.1', 'e', $i, 'key-' . $i % 3, ['n' => "$i", 'none' => null], '1.2');
            }
            $broker = Realtime::broker();
            $broker->send('RAW', null, 'tombstone');
            $broker->send('RAW', "bytes \xff\0", null, [], 2);
            $broker->send('RAW', '', '');
            echo json_encode($ids);
            PHP);
        $ids = $result->json();
        self::assertLessThan(5.0, $result->seconds);
        self::assertStringNotContainsString('LOST', $result->stderr);
        self::assertCount(1, $this->spoolFiles());

        $this->startLate();
        $next = $this->spooling(self::DRAIN . 'Realtime::broadcast("user.1", "later"); Realtime::flush(); drain();');
        self::assertSame(['drained'], $next->assertExit()->lines());
        self::assertSame([], $this->spoolFiles());
        $received = $this->received($this->channelTopic('user.1'), 301);
        self::assertCount(301, $received);
        $perKey = [];
        foreach ($received as $message) {
            $envelope = (array) json_decode((string) $message->getPayload(), true);
            if ($envelope['event'] === 'e') {
                self::assertSame($ids[$envelope['data']], $envelope['id'], 'the original id');
                $headers = $message->getHeaders();
                self::assertSame("{$envelope['data']}", $headers['n']);
                self::assertArrayHasKey('none', $headers);
                self::assertSame('1.2', $headers['x-realtime-socket']);
                $perKey[$message->getKey()][] = $envelope['data'];
            }
        }
        foreach (range(0, 2) as $k) {
            self::assertSame(range($k, 299, 3), $perKey["key-$k"], 'the order of a key');
        }
        $raw = [];
        foreach ($this->received($this->topic(), 3) as $message) {
            $raw[] = [$message->getPayload(), $message->getKey()];
        }
        self::assertEqualsCanonicalizing([[null, 'tombstone'], ["bytes \xff\0", null], ['', '']], $raw);
    }

    public function testTheTimestampIsTheTimeOfTheBroadcast(): void
    {
        $before = time();
        $this->spooling('Realtime::broker()->send("RAW", "x");')->assertExit();
        $after = time();
        self::waitForNextSecond();
        $this->startLate();
        $this->spooling(self::DRAIN . 'Realtime::broadcast("c", "e"); drain();')->assertExit();
        $timestamp = $this->received($this->topic(), 1)[0]->getTimestamp();
        self::assertGreaterThanOrEqual($before, $timestamp);
        self::assertLessThanOrEqual($after, $timestamp);
    }

    public function testARunningProcessSpoolsExpiredMessagesAndSendsThemLater(): void
    {
        $child = $this->startPhp(self::DRAIN . str_replace('RAW', $this->topic(), <<<'PHP'
            Realtime::configure(['producer_config' => ['message.timeout.ms' => 500]]);
            for ($i = 0; $i < 20; $i++) {
                Realtime::broadcast('user.1', 'e', $i);
            }
            try {
                Realtime::flush(5000);
            } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                echo json_encode([count($e->getFailed()), $e->getFailed()[0]['reason']]), "\n";
            }
            $stats = Realtime::stats();
            echo json_encode([$stats['spooled'], $stats['spool_bytes'] > 0, $stats['queued']]), "\n";
            drain();
            Realtime::flush();
            PHP), $this->options());
        [$json] = $child->waitForOutput('/^\[20,"(.*)"\]$/m');
        self::assertStringContainsString('spool', $json);
        $child->waitForOutput('/^\[20,true,0\]$/m');
        $this->startLate();
        $result = $child->wait(20.0)->assertExit();
        self::assertContains('drained', $result->lines(), $result->describe());
        $data = array_map(
            static fn (Message $m) => json_decode((string) $m->getPayload(), true)['data'],
            $this->received($this->channelTopic('user.1'), 20)
        );
        self::assertSame(range(0, 19), array_values(array_unique($data)));
    }

    public function testInTestsNothingIsSpooled(): void
    {
        $result = $this->spooling('echo Realtime::broadcast("user.1", "e");', ['APP_ENV' => 'testing'])->assertExit();
        self::assertSame([], $this->spoolFiles());
        self::assertSame([], array_diff(scandir($this->spool) ?: [], ['.', '..']));
        self::assertStringContainsString($result->stdout, $result->stderr, 'it is reported instead');
    }

    public function testSpoolsAreSeparateByBrokersPrefixAndApplication(): void
    {
        $send = 'Realtime::broadcast("user.1", "e");';
        $this->spooling($send, ['APP_NAME' => 'shop'])->assertExit();
        $this->spooling($send, ['APP_NAME' => 'blog'])->assertExit();
        $this->spooling($send, ['APP_NAME' => 'shop', 'KAFKA_TOPIC_PREFIX' => "$this->prefix-b"])->assertExit();
        $this->spooling($send, ['APP_NAME' => 'shop', 'KAFKA_BROKERS' => $this->deadAddress()])->assertExit();
        self::assertCount(4, glob("$this->spool/*", GLOB_ONLYDIR) ?: []);
        self::assertCount(4, $this->spoolFiles());
        self::assertSame('0700', substr(sprintf('%o', fileperms((glob("$this->spool/*") ?: [''])[0])), -4));

        $this->startLate();
        $drain = self::DRAIN . 'Realtime::broadcast("other", "e"); Realtime::flush(); drain();';
        $this->spooling($drain, ['APP_NAME' => 'blog'])->assertExit();
        self::assertCount(3, $this->spoolFiles(), "only the application's own");
        self::assertCount(1, $this->received($this->channelTopic('user.1'), 1));
        $this->spooling($drain, ['APP_NAME' => 'shop'])->assertExit();
        self::assertCount(2, $this->spoolFiles());
    }

    public function testSeveralProcessesSideBySide(): void
    {
        $children = [];
        for ($n = 0; $n < 6; $n++) {
            $code = "for (\$i = 0; \$i < 200; \$i++) { Realtime::broadcast('user.1', 'e', '$n.' . \$i, 'key-$n'); }";
            $children[] = $this->startPhp($code, $this->options());
        }
        foreach ($children as $child) {
            $child->wait()->assertExit();
        }
        self::assertCount(6, $this->spoolFiles());
        $this->startLate();
        $drain = self::DRAIN . 'Realtime::broadcast("other", "e"); Realtime::flush(); drain();';
        $children = [$this->startPhp($drain, $this->options()), $this->startPhp($drain, $this->options())];
        foreach ($children as $child) {
            self::assertSame(['drained'], $child->wait()->assertExit()->lines());
        }
        $perKey = [];
        foreach ($this->received($this->channelTopic('user.1'), 1200) as $message) {
            $perKey[$message->getKey()][] = json_decode((string) $message->getPayload(), true)['data'];
        }
        for ($n = 0; $n < 6; $n++) {
            self::assertSame(array_map(static fn (int $i) => "$n.$i", range(0, 199)), $perKey["key-$n"]);
        }
    }

    public function testUnsentMessagesOfMoreThanEightClientsAreSpooledToo(): void
    {
        $this->spooling(<<<'PHP'
            for ($i = 0; $i < 12; $i++) {
                (new Broker(['application' => "app-$i"]))->publish('user.1', Message::event('user.1', 'e'));
            }
            PHP)->assertExit();
        self::assertCount(12, $this->spoolFiles());
    }

    public function testAFatalErrorSpoolsToo(): void
    {
        $result = $this->spooling('Realtime::broadcast("user.1", "e"); throw new RuntimeException("x");');
        self::assertSame(255, $result->exitCode);
        self::assertCount(1, $this->spoolFiles());
    }
}
