<?php

/**
 * Records that the broker itself refuses: the reason that it gives reaches the application, unharmed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Realtime;

final class RefusedRecordsKafkaTest extends ProducingTestCase
{
    public function testTheReasonOfARefusedRecordIsTheBrokersOwn(): void
    {
        $topic = $this->topic('compacted');
        (new Admin(['brokers' => self::address()]))->createTopic($topic, 1, 1, ['cleanup.policy' => 'compact']);
        $broker = $this->broker();
        for ($round = 0; $round < 5; $round++) {
            $broker->send($topic, "no key $round");
            $e = self::catch(DeliveryException::class, static fn () => Realtime::flush(20_000));
            self::assertSame(
                ["Compacted topic cannot accept message without key in topic partition $topic-0"],
                array_column($e->getFailed(), 'reason')
            );
        }
        // Alone in a process, as stats() shows the last error of the first client that has one.
        $script = 'try { Realtime::broker()->send(' . var_export($topic, true) . ', "no key"); Realtime::flush(20000); }'
            . 'catch (\Throwable) { echo Realtime::stats()["last_error"]; }';
        self::assertStringContainsString(
            'Compacted topic cannot accept message without key',
            $this->runPhp($script)->assertExit()->stdout
        );
    }
}
