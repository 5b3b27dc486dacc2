<?php

/**
 * A gateway that starts while Kafka is away opens its port after a few seconds, and its clients miss no event.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Message;

final class StartWithoutKafkaEmbeddedTest extends GatewayTestCase
{
    public function testClientsReceiveTheFirstEventsAfterKafkaIsBack(): void
    {
        $kafka = EmbeddedBroker::start();
        $config = ['brokers' => $kafka->address()];
        foreach ([true, false] as $recovery) {
            $kafka->down();
            $gateway = $this->gateway(['broker' => $this->config($config), 'recovery' => $recovery]);
            $client = $this->client($gateway);
            $client->subscribe('private-user.1');
            // Longer than the reconnect backoff of clients that are new.
            usleep(1_500_000);
            $kafka->up();
            $broker = $this->broker($config);
            for ($n = 1; $n <= 30; $n++) {
                $broker->publish('user.1', Message::event('user.1', 'order.created', $n));
                usleep(50_000);
            }
            for ($n = 1; $n <= 30; $n++) {
                self::assertSame($n, $client->event('order.created', 'private-user.1')['data']);
            }
            $gateway->stop(0);
        }
    }
}
