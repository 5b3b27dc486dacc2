<?php

/**
 * realtime:kafka:consume --from=<time>: on Kafka only, because the embedded broker has no time index.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

final class ConsumeFromTimeKafkaTest extends ConsoleTestCase
{
    public function testFromATime(): void
    {
        $this->publish('user.1', 'before');
        $time = self::waitForNextSecond();
        $this->publish('user.1', 'after');
        $iso = gmdate('Y-m-d\TH:i:s\Z', $time);
        foreach ([(string) $time, $iso] as $from) {
            $report = $this->consume("--channels=user.1 --stop-when-empty --from=$from");
            self::assertSame(['after'], $report->events(), $report->result->describe());
        }
        $future = $this->consume('--channels=user.1 --stop-when-empty --from=' . ($time + 3600));
        self::assertSame([], $future->events());
    }
}
