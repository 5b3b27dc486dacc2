<?php

/**
 * The alert about records that Kafka deleted before the gateway read them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Realtime;

final class GatewayAlertsKafkaTest extends GatewayAlertsTestCase
{
    public function testRecordsDeletedWhileTheGatewayWasAway(): void
    {
        $topic = $this->createTopic($this->channelTopic('news'));
        $gateway = $this->startGateway("'public_channels' => 'news'");
        $client = $this->client($this->sockets);
        $client->subscribe('news');
        $this->broadcast('news', 'first');
        $client->event('first', 'news');
        $before = self::scrape($this->metrics);
        $gateway->signal(SIGSTOP);
        for ($n = 0; $n < 200; $n++) {
            Realtime::broadcast('news', 'missed', str_repeat('x', 20_000));
        }
        Realtime::flush();
        (new Admin(['brokers' => self::address()]))->deleteRecords($topic, [0 => 201]);
        $gateway->signal(SIGCONT);
        $this->assertAlert('RealtimeGatewayOffsetsLost', $before, 'realtime_gateway_offsets_lost_total', 1);
        $this->broadcast('news', 'next');
        $client->event('next', 'news');
    }
}
