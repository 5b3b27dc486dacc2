<?php

/**
 * A burst to topics that do not exist yet; Kafka creates them one after the other.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\KafkaNode;

final class ManyTopicsKafkaTest extends ProducingTestCase
{
    public function testABurstToNewTopicsLosesNothing(): void
    {
        // A node of its own: the topics take memory, which the other tests need.
        $node = KafkaNode::start();
        try {
            $before = Realtime::stats();
            $broker = new Broker($this->config(['brokers' => $node->address]));
            for ($i = 0; $i < 2200; $i++) {
                $broker->send($this->topic((string) ($i % 1100)), "$i");
            }
            // Each takes 20 to 50 ms on a busy machine.
            Realtime::flush(170_000);
            $after = Realtime::stats();
            self::assertSame(2200, $after['messages_delivered'] - $before['messages_delivered']);
            self::assertSame(0, $after['delivery_failures'] - $before['delivery_failures']);
            self::assertSame(2, KafkaNode::count($node->address, $this->topic('1099')));
            $broker->close();
        } finally {
            $node->stop();
        }
    }
}
