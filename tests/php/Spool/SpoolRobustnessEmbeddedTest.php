<?php

/**
 * The spool under stress: replayers that are killed, a full disk, several writers, damaged files.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Spool;

use Toporia\Realtime\Message;

final class SpoolRobustnessEmbeddedTest extends SpoolTestCase
{
    private const SEND_AGAIN = 'Realtime::broadcast("other", "e"); Realtime::flush(); drain();';

    public function testKilledReplayersLoseNothingAndKeepTheOrder(): void
    {
        $this->spooling(<<<'PHP'
            for ($i = 0; $i < 6000; $i++) {
                Realtime::broadcast('user.1', 'e', $i, 'key-' . $i % 4);
            }
            PHP)->assertExit();
        $this->startLate();
        $kills = 0;
        for ($run = 0; $run < 4; $run++) {
            $child = $this->startPhp(
                'Realtime::broadcast("other", "e"); echo "up\n"; while (true) { usleep(1000); }',
                $this->options()
            );
            $child->waitForOutput('/^up$/m');
            usleep(5_000 * ($run + 1));
            $kills += $child->signal(SIGKILL)->wait()->signal === SIGKILL ? 1 : 0;
        }
        self::assertSame(4, $kills);
        $this->assertDrained();
        $perKey = [];
        foreach ($this->received($this->channelTopic('user.1'), 6000) as $message) {
            $data = self::envelope($message)['data'];
            // Messages that were not marked as sent were sent again: the first one counts.
            $perKey[$message->getKey()][$data] = $data;
        }
        foreach (range(0, 3) as $key) {
            self::assertSame(range($key, 5999, 4), array_values($perKey["key-$key"]), "key $key");
        }
    }

    public function testAFullDiskIsReportedAndStoredMessagesAreSent(): void
    {
        $log = $this->directory() . '/error.log';
        // Only root may mount a small disk; for other users the spool's own limit stands in for it.
        exec('mount -t tmpfs -o size=128k none ' . escapeshellarg($this->spool) . ' 2>/dev/null', $output, $failed);
        $bound = $failed === 0 ? '' : 'Realtime::configure(["spool_max_bytes" => 131072]);';
        try {
            $result = $this->spooling($bound . <<<'PHP'
                for ($i = 0; $i < 300; $i++) {
                    echo Realtime::broadcast('user.1', 'e', str_repeat('x', 1000)), "\n";
                }
                PHP, [], ['log_errors' => '1', 'error_log' => $log])->assertExit();
            $lines = (string) file_get_contents($log);
            $reported = array_filter($result->lines(), static fn (string $id) => str_contains($lines, $id));
            $kept = 300 - count($reported);
            self::assertGreaterThan(20, $kept, 'what fitted');
            self::assertLessThan(128, $kept);
            $this->startLate();
            $this->assertDrained();
        } finally {
            $failed === 0 && exec('umount ' . escapeshellarg($this->spool));
        }
        $arrived = array_map(
            static fn (Message $message) => self::envelope($message)['id'],
            $this->received($this->channelTopic('user.1'), $kept)
        );
        self::assertEqualsCanonicalizing(array_values(array_diff($result->lines(), $reported)), $arrived);
    }

    public function testALimitOnTheSizeOfFilesLosesNothing(): void
    {
        $ids = $this->startWithFileSizeLimit($this->options())->wait()->assertExit()->lines();
        self::assertCount(300, $ids);
        self::assertGreaterThan(1, count($this->spoolFiles()), 'it goes on in another file');

        $this->startLate();
        $this->assertDrained();
        $arrived = array_map(
            static fn (Message $message) => self::envelope($message)['id'],
            $this->received($this->channelTopic('user.1'), 300)
        );
        self::assertSame($ids, $arrived);
    }

    public function testFilesAfterADamagedOneAreSent(): void
    {
        $this->spooling('for ($i = 0; $i < 50; $i++) { Realtime::broadcast("user.1", "e", $i); }')->assertExit();
        $file = $this->spoolFiles()[0];
        $this->spooling('Realtime::broadcast("user.1", "e", "later");')->assertExit();
        $bytes = (string) file_get_contents($file);
        $middle = intdiv(strlen($bytes), 2);
        file_put_contents($file, substr($bytes, 0, $middle) . random_bytes(40) . substr($bytes, $middle + 40));
        $this->startLate();
        $this->assertDrained();
        $data = array_map(
            static fn (Message $message) => self::envelope($message)['data'],
            $this->received($this->channelTopic('user.1'), 25)
        );
        self::assertContains('later', $data, 'it does not hold up the next file');
        self::assertSame([], array_diff(range(0, 20), $data), 'nor what was before the damage');
        self::assertNotSame([], glob(dirname($file) . '/damaged/*') ?: [], 'what could not be read is kept');
    }

    public function testAPermanentFailureAtTheHeadIsSetAsideAndVisible(): void
    {
        $id = $this->spooling(<<<'PHP'
            echo Realtime::broker()->send('RAW', 'nowhere', 'k', [], 99);
            for ($i = 0; $i < 20; $i++) {
                Realtime::broadcast('user.1', 'e', $i);
            }
            PHP)->assertExit()->stdout;
        $this->startLate()->createTopic($this->topic(), 1);
        $result = $this->spooling(self::DRAIN . self::SEND_AGAIN . <<<'PHP'
            echo json_encode([Realtime::stats()['spool_bytes'], Realtime::stats()['last_error'] ?? '']);
            PHP)->assertExit();
        self::assertStringContainsString('drained', $result->stdout);
        self::assertStringContainsString($id, $result->stderr, 'it is said');
        self::assertCount(1, glob("$this->spool/*/failed/*.jsonl") ?: []);
        self::assertCount(20, $this->received($this->channelTopic('user.1'), 20));
    }

    public function testKilledWritersDoNotAffectEachOther(): void
    {
        $code = <<<'PHP'
            Realtime::configure(['producer_config' => ['message.timeout.ms' => 300]]);
            for ($i = 0; ; $i++) {
                Realtime::broadcast('user.1', 'e', getmypid() . ".$i", 'key-' . getmypid());
                if (Realtime::stats()['spooled'] > 50) {
                    echo "spooled\n";
                }
                usleep(2000);
            }
            PHP;
        $children = [];
        for ($n = 0; $n < 3; $n++) {
            $children[] = $this->startPhp($code, $this->options());
        }
        foreach ($children as $child) {
            $child->waitForOutput('/^spooled$/m');
        }
        foreach ($children as $child) {
            self::assertSame(SIGKILL, $child->signal(SIGKILL)->wait()->signal);
        }
        $this->startLate();
        $this->assertDrained();
        $perKey = [];
        foreach ($this->received($this->channelTopic('user.1'), 150) as $message) {
            $perKey[$message->getKey()][] = (int) explode('.', self::envelope($message)['data'])[1];
        }
        self::assertCount(3, $perKey);
        foreach ($perKey as $numbers) {
            $numbers = array_values(array_unique($numbers));
            self::assertGreaterThan(50, count($numbers), 'what stats() called spooled outlived the kill');
            self::assertSame(range(0, count($numbers) - 1), $numbers, 'in order, without a gap');
        }
    }

    private function assertDrained(): void
    {
        $result = $this->spooling(self::DRAIN . self::SEND_AGAIN, [], ['log_errors' => '0'])->assertExit();
        self::assertSame(['drained'], $result->lines(), $result->describe());
        self::assertSame([], $this->spoolFiles());
    }

    /** @return array<string, mixed> */
    private static function envelope(Message $message): array
    {
        return (array) json_decode((string) $message->getPayload(), true, 512, JSON_THROW_ON_ERROR);
    }
}
