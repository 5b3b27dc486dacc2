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
            self::assertSame($e->getFailed()[0]['reason'], Realtime::stats()['last_error']);
        }
    }
}
