<?php

/**
 * A batch from the spool that Kafka refuses because of one of its messages: only that one goes to failed/.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Spool;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Message;

final class SpoolRefusedKafkaTest extends SpoolTestCase
{
    /** @return iterable<string, array{array<string, string|int>, string}> */
    public static function topics(): iterable
    {
        yield 'an invalid record' => [['cleanup.policy' => 'compact'], 'cannot accept message without key'];
        yield 'too large' => [['max.message.bytes' => 20_000], 'too large'];
    }

    /**
     * @dataProvider topics
     *
     * @param array<string, string|int> $config
     */
    #[DataProvider('topics')]
    public function testOnlyTheRefusedMessageGoesToFailed(array $config, string $reason): void
    {
        (new Admin(['brokers' => self::address()]))->createTopic($this->topic(), 1, 1, $config);
        // They are still queued when the process ends.
        $bad = $this->spooling(<<<'PHP'
            Realtime::configure(['producer_config' => ['linger.ms' => 60_000, 'message.max.bytes' => 2_000_000]]);
            for ($n = 0; $n < 300; $n++) {
                $isBad = in_array($n, [0, 120, 299], true);
                $id = Realtime::broker()->send(
                    'RAW',
                    sprintf('%04d', $n) . str_repeat('x', $isBad ? 30_000 : 200),
                    $isBad ? null : "$n",
                    [],
                    0
                );
                if ($isBad) {
                    $bad[] = $id;
                }
            }
            echo json_encode($bad);
            PHP, ['KAFKA_BROKERS' => self::address()], ['toporia_realtime.shutdown_flush_ms' => '0'])->json();
        self::assertNotSame([], $this->spoolFiles());

        $result = $this->spooling(
            self::DRAIN . 'Realtime::broadcast("other", "e"); Realtime::flush(); drain();',
            ['KAFKA_BROKERS' => self::address()]
        );
        self::assertSame(['drained'], $result->assertExit()->lines(), $result->stderr);
        $lines = [];
        foreach (glob("$this->spool/*/failed/*.jsonl") ?: [] as $file) {
            array_push($lines, ...file($file, FILE_IGNORE_NEW_LINES) ?: []);
        }
        $failed = array_map(static fn (string $line) => json_decode($line, true, 512, JSON_THROW_ON_ERROR), $lines);
        self::assertSame($bad, array_column($failed, 'id'), 'each once');
        foreach ($failed as $one) {
            self::assertStringContainsString($reason, $one['failed_because']);
        }
        $numbers = array_map(
            static fn (Message $message) => (int) substr((string) $message->getPayload(), 0, 4),
            $this->consumeAll($this->topic(), 297, 15.0)
        );
        $good = array_values(array_diff(range(0, 299), [0, 120, 299]));
        self::assertSame($good, array_values(array_unique($numbers)), 'in order');
    }
}
