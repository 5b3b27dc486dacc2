<?php

/**
 * Many small dead letters for a topic that takes less than a batch of them: the worker goes on.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use DomainException;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Delivery\DeliveryTestCase;

final class DeadLetterBatchKafkaTest extends DeliveryTestCase
{
    public function testManySmallDeadLettersDoNotStopTheWorker(): void
    {
        $admin = new Admin(['brokers' => self::address()]);
        $admin->createTopic("dlq.{$this->topic()}", 1, 1, ['max.message.bytes' => 20_000]);
        for ($n = 0; $n < 300; $n++) {
            $this->broker()->send($this->topic(), "small $n", 'k', [], 0);
        }
        Realtime::flush();
        $broker = $this->consumer(static fn (): DomainException => new DomainException('no'), [
            'max_retries' => 0, 'circuit_failures' => 0,
        ]);
        self::assertSame(300, $this->drain($broker));
        $broker->close();
        $values = array_map(static fn ($letter) => $letter->getPayload(), $this->letters(300));
        self::assertSame(array_map(static fn (int $n) => "small $n", range(0, 299)), $values);
    }
}
