<?php

/**
 * `spool_when: always`: a message survives SIGKILL once broadcast() returned, and is removed from disk once
 * acknowledged.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Spool;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

final class SpoolKillEmbeddedTest extends SpoolTestCase
{
    private const ALWAYS = ['REALTIME_SPOOL_WHEN' => 'always'];
    private const SEND_AGAIN = 'Realtime::broadcast("other", "e"); Realtime::flush(); drain();';
    private const FOR_EVER = <<<'PHP'
        for ($i = 0; ; $i++) {
            echo Realtime::broadcast('user.1', 'e', getmypid() . ".$i", getmypid() . '-' . $i % 4), "\n";
        }
        PHP;

    public function testMessagesBroadcastBeforeTheKillAreSentInOrderByTheNextProcess(): void
    {
        $ids = $this->kill(self::FOR_EVER, 1)[0];
        self::assertCount(1, $this->spoolFiles());
        $this->startLate();
        $this->assertDrained();
        $messages = $this->received($this->channelTopic('user.1'), count($ids));
        $this->assertAllInOrder([$ids], $messages);
        self::assertSame(count($messages), count(array_unique(array_map(self::id(...), $messages))), 'each of them once');
    }

    public function testProcessesKilledWhileKafkaIsUpLoseNothing(): void
    {
        $this->startLate();
        $all = $this->kill(self::FOR_EVER, 3);
        $this->assertDrained();
        $this->assertAllInOrder($all, $this->received($this->channelTopic('user.1'), array_sum(array_map(count(...), $all))));
    }

    public function testAcknowledgedMessagesAreRemovedFromDisk(): void
    {
        $this->startLate();
        $result = $this->spooling(<<<'PHP'
            for ($i = 0; $i < 5000; $i++) {
                Realtime::broadcast('user.1', 'e', $i);
            }
            echo Realtime::stats()['spool_bytes'] > 0 ? "written\n" : "nothing written\n";
            Realtime::flush();
            echo Realtime::stats()['spool_bytes'], "\n";
            Realtime::broadcast('user.1', 'e', 5000);
            for ($i = 0; Realtime::stats()['spool_bytes'] > 0 && $i < 500; $i++) {
                usleep(10_000);
            }
            echo Realtime::stats()['spool_bytes'], "\n";
            Realtime::broadcast('user.1', 'e', 5001);
            PHP, self::ALWAYS, ['toporia_realtime.shutdown_flush_ms' => '5000'])->assertExit();
        self::assertSame(['written', '0', '0'], $result->lines());
        self::assertSame([], $this->spoolFiles());
        self::assertCount(5002, $this->received($this->channelTopic('user.1'), 5002));
    }

    public function testWithoutKafkaTheEndOfTheProcessKeepsEachMessageOnce(): void
    {
        $result = $this->spooling(<<<'PHP'
            for ($i = 0; $i < 300; $i++) {
                echo Realtime::broadcast('user.1', 'e', $i), "\n";
            }
            PHP, self::ALWAYS)->assertExit();
        $this->startLate();
        $this->assertDrained();
        $messages = $this->received($this->channelTopic('user.1'), 300);
        self::assertSame($result->lines(), array_map(self::id(...), $messages));
    }

    public function testOnAFullDiskBroadcastThrowsAndSendsNothing(): void
    {
        exec('mount -t tmpfs -o size=128k none ' . escapeshellarg($this->spool) . ' 2>/dev/null', $output, $failed);
        $bound = $failed === 0 ? '' : 'Realtime::configure(["spool_max_bytes" => 131072]);';
        try {
            $result = $this->spooling($bound . <<<'PHP'
                for ($i = 0; $i < 300; $i++) {
                    try {
                        echo 'id ' . Realtime::broadcast('user.1', 'e', str_repeat('x', 1000)) . "\n";
                    } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                        echo count($e->getFailed()), ' ', $e->getMessage(), "\n";
                    }
                }
                posix_kill(getmypid(), SIGKILL);
                PHP, self::ALWAYS);
            self::assertSame(SIGKILL, $result->signal, $result->describe());
            $returned = preg_grep('/^id /', $result->lines()) ?: [];
            $thrown = preg_grep('/^1 .*(No space|spool_max_bytes)/', $result->lines()) ?: [];
            self::assertGreaterThan(20, count($returned));
            self::assertGreaterThan(100, count($thrown));
            self::assertCount(300, [...$returned, ...$thrown], $result->stdout);
            $this->startLate();
            $this->assertDrained();
        } finally {
            $failed === 0 && exec('umount ' . escapeshellarg($this->spool));
        }
        $ids = array_map(static fn (string $line): string => substr($line, 3), array_values($returned));
        $arrived = array_map(self::id(...), $this->received($this->channelTopic('user.1'), count($ids)));
        self::assertSame($ids, $arrived, 'what returned arrives, what threw does not');
    }

    public function testWithAFileSizeLimitBroadcastThrowsAndSendsNothing(): void
    {
        $kill = 'posix_kill(getmypid(), SIGKILL);';
        $ids = $this->startWithFileSizeLimit($this->options(self::ALWAYS), $kill)->wait()->lines();
        self::assertCount(300, $ids);
        self::assertGreaterThan(1, count($this->spoolFiles()), 'it goes on in another file');
        $this->startLate();
        $this->assertDrained();
        self::assertSame($ids, array_map(self::id(...), $this->received($this->channelTopic('user.1'), 300)));
    }

    public function testAChildHasItsOwnFile(): void
    {
        $result = $this->spooling(<<<'PHP'
            echo Realtime::broadcast('user.1', 'e', 'parent'), "\n";
            if (pcntl_fork() === 0) {
                echo Realtime::broadcast('user.1', 'e', 'child'), "\n";
                posix_kill(getmypid(), SIGKILL);
            }
            pcntl_wait($status);
            echo Realtime::broadcast('user.1', 'e', 'parent again'), "\n";
            posix_kill(getmypid(), SIGKILL);
            PHP, self::ALWAYS);
        self::assertCount(3, $result->lines(), $result->describe());
        self::assertCount(2, $this->spoolFiles());
        $this->startLate();
        $this->assertDrained();
        $arrived = array_map(self::id(...), $this->received($this->channelTopic('user.1'), 3));
        self::assertEqualsCanonicalizing($result->lines(), $arrived);
    }

    public function testItNeedsADirectory(): void
    {
        foreach ([['spool' => 'always'], ['spool_when' => 'always'], ['spool' => false, 'spool_when' => 'always']] as $config) {
            try {
                new Broker($config);
                self::fail('It was accepted: ' . json_encode($config));
            } catch (ConfigurationException $e) {
                self::assertStringContainsString('`spool` does not name a directory', $e->getMessage());
            }
        }
    }

    /** @return list<list<string>> the ids that each killed process got */
    private function kill(string $code, int $count): array
    {
        $children = [];
        for ($n = 0; $n < $count; $n++) {
            $children[] = $this->startPhp($code, $this->options(self::ALWAYS));
        }
        foreach ($children as $child) {
            $child->waitForOutput('/(\S{36}\n){500}/');
        }
        $all = [];
        foreach ($children as $child) {
            $result = $child->signal(SIGKILL)->wait();
            self::assertSame(SIGKILL, $result->signal, $result->describe());
            $lines = $result->lines();
            // The last line may have been cut off.
            $all[] = array_values(array_filter($lines, static fn (string $id): bool => strlen($id) === 36));
        }

        return $all;
    }

    /**
     * @param list<list<string>> $all
     * @param list<Message>      $messages
     */
    private function assertAllInOrder(array $all, array $messages): void
    {
        $arrived = array_fill_keys(array_map(self::id(...), $messages), true);
        self::assertSame([], array_diff(array_merge(...$all), array_keys($arrived)), 'lost');
        $perKey = [];
        foreach ($messages as $message) {
            $number = (int) explode('.', self::envelope($message)['data'])[1];
            $perKey[$message->getKey()][$number] = $number;
        }
        self::assertCount(4 * count($all), $perKey);
        foreach ($perKey as $key => $numbers) {
            // Messages acknowledged but not marked were sent again: the first one counts.
            $numbers = array_values($numbers);
            self::assertSame(range($numbers[0], end($numbers), 4), $numbers, "key $key");
        }
    }

    private function assertDrained(): void
    {
        $result = $this->spooling(self::DRAIN . self::SEND_AGAIN, [], ['log_errors' => '0'])->assertExit();
        self::assertSame(['drained'], $result->lines(), $result->describe());
        self::assertSame([], $this->spoolFiles());
    }

    private static function id(Message $message): string
    {
        return self::envelope($message)['id'];
    }

    /** @return array<string, mixed> */
    private static function envelope(Message $message): array
    {
        return (array) json_decode((string) $message->getPayload(), true, 512, JSON_THROW_ON_ERROR);
    }
}
