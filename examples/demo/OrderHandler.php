<?php

/**
 * What a service does with an order: the command makes one for its --handler, and calls handle() for each message.
 */

declare(strict_types=1);

namespace Demo;

use Toporia\Realtime\Message;

final class OrderHandler
{
    private Journal $journal;

    public function __construct()
    {
        $this->journal = Journal::ofThisRun();
    }

    public function handle(Message $message): void
    {
        $order = $message->getData();
        $this->journal->write([
            'what' => 'received',
            'id' => $message->getId(),
            'channel' => $message->getChannel(),
            'service' => getenv('DEMO_SERVICE'),
            'partition' => $message->getPartition(),
            'offset' => $message->getOffset(),
            'ms' => (microtime(true) - $order['placed']) * 1000,
        ] + $order);
    }
}
