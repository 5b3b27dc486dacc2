<?php

/**
 * A spool that is full, damaged or unusable, and records in it that can never be delivered.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Spool;

use Toporia\Realtime\Message;

final class SpoolErrorsEmbeddedTest extends SpoolTestCase
{
    public function testAFullSpoolIsReportedAndEachLossNamed(): void
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

    public function testAMessageOverTheCurrentLimitDoesNotBlockOthers(): void
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

    public function testAMissingPartitionDoesNotBlockOthers(): void
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
     * Lets another process drain the spool; records are delivered, and undeliverable ones kept with the reason.
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

    public function testAnUnusableDirectoryIsReportedImmediately(): void
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
}
