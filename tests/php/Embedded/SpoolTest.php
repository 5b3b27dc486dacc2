<?php

/**
 * The spool: what Kafka did not take waits on disk and is sent by the next process, or later by the same one. The broker
 * is an embedded one that starts on a port where nobody listened before.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Embedded;

use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Message;
use Toporia\Realtime\Tests\Producing\ProducingTestCase;
use Toporia\Realtime\Tests\Support\ProcessResult;

final class SpoolTest extends ProducingTestCase
{
    /** Keeps a process alive until its spool is empty. */
    private const DRAIN = <<<'PHP'
        function drain(): void
        {
            for ($i = 0; Realtime::stats()['spool_bytes'] > 0 && $i < 1000; $i++) {
                usleep(10_000);
            }
            echo Realtime::stats()['spool_bytes'] === 0 ? "drained\n" : "not drained\n";
        }
        PHP;

    private string $spool;
    private int $port;
    private ?EmbeddedBroker $late = null;

    protected function setUp(): void
    {
        parent::setUp();
        $this->spool = $this->directory();
        $free = stream_socket_server('tcp://127.0.0.1:0');
        self::assertIsResource($free);
        $this->port = (int) explode(':', (string) stream_socket_get_name($free, false))[1];
        fclose($free);
    }

    protected function tearDown(): void
    {
        $this->late?->stop();
        $this->late = null;
        parent::tearDown();
    }

    public function testTheNextProcessSendsWhatTheOneBeforeCouldNot(): void
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

    public function testTheTimeOfTheRecordIsThatOfItsMaking(): void
    {
        $before = time();
        $this->spooling('Realtime::broker()->send("RAW", "x");')->assertExit();
        $after = time();
        sleep(1);
        $this->startLate();
        $this->spooling(self::DRAIN . 'Realtime::broadcast("c", "e"); drain();')->assertExit();
        $timestamp = $this->received($this->topic(), 1)[0]->getTimestamp();
        self::assertGreaterThanOrEqual($before, $timestamp);
        self::assertLessThanOrEqual($after, $timestamp);
    }

    public function testALivingProcessSpoolsWhatExpiresAndSendsItWhenKafkaIsBack(): void
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

    public function testBrokersPrefixesAndApplicationsKeepApart(): void
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

    public function testSeveralProcessesAtOnce(): void
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

    public function testAFullSpoolIsReportedAndNothingVanishes(): void
    {
        $log = $this->directory() . '/error.log';
        $result = $this->spooling(<<<'PHP'
            Realtime::configure(['spool_max_bytes' => 65536]);
            for ($i = 0; $i < 200; $i++) {
                echo Realtime::broadcast('user.1', 'e', str_repeat('x', 1000)), "\n";
            }
            PHP, [], ['log_errors' => '1', 'error_log' => $log])->assertExit();
        $lines = (string) file_get_contents($log);
        $reported = array_filter($result->lines(), static fn (string $id) => str_contains($lines, $id));
        self::assertStringContainsString('spool_max_bytes', $lines);
        $kept = 200 - count($reported);
        self::assertGreaterThan(40, $kept);
        self::assertLessThan(66, $kept);
        self::assertLessThanOrEqual(65536, filesize($this->spoolFiles()[0]));

        $this->startLate();
        $this->spooling(self::DRAIN . 'Realtime::broadcast("other", "e"); Realtime::flush(); drain();')->assertExit();
        $arrived = array_map(
            static fn (Message $m) => json_decode((string) $m->getPayload(), true)['id'],
            $this->received($this->channelTopic('user.1'), $kept)
        );
        self::assertEqualsCanonicalizing(array_values(array_diff($result->lines(), $reported)), $arrived);
    }

    public function testAMessageThatIsTooLargeByNowDoesNotHoldUpTheOthers(): void
    {
        $ids = $this->spooling(<<<'PHP'
            Realtime::configure(['producer_config' => ['message.max.bytes' => 2_000_000]]);
            foreach (['before', str_repeat('x', 1_500_000), 'behind'] as $data) {
                $ids[] = Realtime::broadcast('user.1', 'e', $data, 'k', ['h' => 'v']);
            }
            echo json_encode($ids);
            PHP)->json();
        $this->startLate();
        $failed = $this->failedAfterDraining($ids[1], ['before', 'behind']);
        self::assertSame($this->channelTopic('user.1'), $failed['topic']);
        self::assertSame(['text' => 'k'], $failed['key']);
        self::assertStringContainsString('xxx', $failed['value']['text']);
        self::assertSame([['name' => 'h', 'value' => ['text' => 'v']]], $failed['headers']);
    }

    public function testAPartitionThatDoesNotExistDoesNotHoldUpTheOthers(): void
    {
        $ids = $this->spooling(<<<'PHP'
            $broker = Realtime::broker();
            $ids[] = Realtime::broadcast('user.1', 'e', 'before');
            $ids[] = $broker->send('RAW', 'nowhere', 'k', ['h' => 'v'], 99);
            $ids[] = Realtime::broadcast('user.1', 'e', 'behind');
            echo json_encode($ids);
            PHP)->json();
        $this->startLate()->createTopic($this->topic(), 2);
        $failed = $this->failedAfterDraining($ids[1], ['before', 'behind']);
        self::assertSame([$this->topic(), 99], [$failed['topic'], $failed['partition']]);
    }

    /**
     * Lets another process empty the spool; those are delivered, and the one that cannot be is kept with its reason.
     *
     * @param list<string> $delivered
     *
     * @return array<string, mixed>
     */
    private function failedAfterDraining(string $id, array $delivered): array
    {
        $log = $this->directory() . '/error.log';
        $result = $this->spooling(
            self::DRAIN . 'Realtime::broadcast("other", "e"); Realtime::flush(); drain();',
            [],
            ['log_errors' => '1', 'error_log' => $log]
        );
        self::assertSame(['drained'], $result->assertExit()->lines());
        $data = array_map(
            static fn (Message $m) => json_decode((string) $m->getPayload(), true)['data'],
            $this->received($this->channelTopic('user.1'), count($delivered))
        );
        self::assertEqualsCanonicalizing($delivered, array_values(array_unique($data)));
        $files = glob("$this->spool/*/failed/*.jsonl") ?: [];
        self::assertCount(1, $files);
        $failed = (array) json_decode((string) file_get_contents($files[0]), true, 512, JSON_THROW_ON_ERROR);
        self::assertSame($id, $failed['id']);
        self::assertNotSame('', $failed['failed_because']);
        self::assertStringContainsString($id, (string) file_get_contents($log));

        return $failed;
    }

    public function testADamagedFileIsSetAside(): void
    {
        $this->spooling('Realtime::broadcast("user.1", "e");')->assertExit();
        $directory = dirname($this->spoolFiles()[0]);
        file_put_contents("$directory/00000000000000000001-1.spool", random_bytes(5000));
        $this->startLate();
        $result = $this->spooling(self::DRAIN . 'Realtime::broadcast("x", "e"); Realtime::flush(); drain();');
        self::assertSame(['drained'], $result->assertExit()->lines());
        self::assertCount(1, $this->received($this->channelTopic('user.1'), 1));
        self::assertNotSame([], glob("$directory/damaged/*") ?: []);
        self::assertStringContainsString('00000000000000000001-1', $result->stderr);
    }

    public function testADirectoryThatCannotBeUsedIsSaidAtOnce(): void
    {
        file_put_contents("$this->spool/file", '');
        $result = $this->spooling(<<<'PHP'
            try {
                Realtime::broadcast('user.1', 'e');
            } catch (Toporia\Realtime\Exception\ConfigurationException $e) {
                echo $e->getMessage();
            }
            PHP, ['REALTIME_SPOOL' => "$this->spool/file/below"])->assertExit();
        self::assertStringContainsString("$this->spool/file", $result->stdout);
    }

    public function testWhatMoreThanEightClientsCouldNotSendIsSpooledToo(): void
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

    /** @param array<string, string> $env @param array<string, string> $ini */
    private function spooling(string $code, array $env = [], array $ini = []): ProcessResult
    {
        return $this->runPhp(str_replace('RAW', $this->topic(), $code), $this->options($env, $ini));
    }

    /**
     * @param array<string, string> $env
     * @param array<string, string> $ini
     *
     * @return array<string, mixed>
     */
    private function options(array $env = [], array $ini = []): array
    {
        $env += ['KAFKA_BROKERS' => "127.0.0.1:$this->port", 'REALTIME_SPOOL' => $this->spool];

        return ['env' => $env, 'ini' => $ini + ['toporia_realtime.shutdown_flush_ms' => '300']];
    }

    private function startLate(): EmbeddedBroker
    {
        return $this->late = EmbeddedBroker::start($this->port);
    }

    /** @return list<string> */
    private function spoolFiles(): array
    {
        return glob("$this->spool/*/*.spool") ?: [];
    }

    /** @return list<Message> */
    private function received(string $topic, int $atLeast): array
    {
        $messages = [];
        $broker = $this->broker(['brokers' => "127.0.0.1:$this->port", 'consumer_group' => bin2hex(random_bytes(4))]);
        $broker->subscribeTopic($topic, static function (Message $message) use (&$messages): void {
            $messages[] = $message;
        });
        for ($i = 0; $i < 20 && count($messages) < $atLeast; $i++) {
            $broker->consume(200, 1000, 0, true);
        }
        $broker->close();

        return $messages;
    }
}
