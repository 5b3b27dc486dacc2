<?php

/**
 * More topics than a client keeps handles for; on the embedded broker, where creating a topic is cheap.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Realtime;

final class ManyTopicsEmbeddedTest extends ProducingTestCase
{
    public function testManyTopicsThroughOneClient(): void
    {
        $broker = new Broker($this->config());
        // More than the handles it keeps: the least recently used ones are released and created again.
        for ($i = 0; $i < 1100; $i++) {
            $broker->send($this->topic((string) ($i % 1050)), "$i", null, [], 0);
        }
        Realtime::flush(30_000);
        self::assertSame(['0', '1050'], $this->payloads($this->topic('0'), 2));
        self::assertSame(['1049'], $this->payloads($this->topic('1049'), 1));
        $broker->close();
    }
}
