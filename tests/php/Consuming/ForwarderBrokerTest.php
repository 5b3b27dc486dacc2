<?php

/**
 * A forwarder (consume, broadcast the result) that is killed at any point and restarted: no input lacks its output.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Toporia\Realtime\Message;

final class ForwarderBrokerTest extends ConsumingTestCase
{
    private const RECORDS = 3000;

    public function testKilledAtAnyPointEveryInputHasItsOutput(): void
    {
        $this->publish('in', range(0, self::RECORDS - 1));
        $kills = 0;
        for ($i = 0; $i < 2; $i++) {
            $child = $this->startPhp($this->forwarder());
            $child->waitForOutput('/^running$/m');
            usleep(random_int(0, 250_000));
            if ($child->isRunning()) {
                $child->signal(9);
            }
            $kills += $child->wait()->signal === 9 ? 1 : 0;
        }
        self::assertGreaterThan(0, $kills, 'it was killed in mid-run at least once');
        $this->runPhp($this->forwarder(), ['timeout' => 40.0])->assertExit();

        $outputs = [];
        $reader = $this->broker(['consumer_group' => "$this->group-reader"]);
        $reader->subscribe('out', static function (Message $message) use (&$outputs): void {
            $outputs[$message->getData()] = true;
        });
        $this->drain($reader);
        self::assertSame([], array_diff(range(0, self::RECORDS - 1), array_keys($outputs)), 'nothing is lost');
    }

    private function forwarder(): string
    {
        return <<<'PHP'
            $broker = new Broker(['consumer_config' => ['auto.commit.interval.ms' => 20]]);
            $broker->subscribe('in', function (Message $message) {
                static $first = true;
                if ($first) {
                    echo "running\n";
                    $first = false;
                }
                Realtime::broadcast('out', 'forwarded', $message->getData());
                usleep(200);
            });
            $broker->consume(stopWhenEmpty: true);
            // If everything was handled before, there is no first record.
            echo "running\n";
            PHP;
    }
}
