<?php

/**
 * The newer generation's command, which loops over consume() and checks its limits in between.
 */

declare(strict_types=1);

namespace Toporia\Framework\Console\Commands\Realtime;

use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Brokers\KafkaBroker;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

final class BrokerHandlerConsumeCommand extends Command
{
    protected string $signature = 'broker:consume';

    public function __construct(private RealtimeManagerInterface $realtime, private string $channel, private int $most)
    {
    }

    public function handle(): int
    {
        $broker = $this->realtime->broker('kafka');
        if (!$broker instanceof KafkaBroker) {
            return 1;
        }
        $broker->setConsumerGroup($broker->getConsumerGroup() . '-handler');
        $handled = $cycles = 0;
        $broker->subscribe($this->channel, static function () use (&$handled): void {
            $handled++;
        });
        while ($handled < $this->most && $cycles < 200) {
            $broker->consume(1000, 2);
            $cycles++;
        }
        echo "$handled in $cycles cycles, group {$broker->getConsumerGroup()}\n";

        return 0;
    }
}
