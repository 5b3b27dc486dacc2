<?php

/**
 * What a service does with an order: the command makes one for its --handler, and calls handle() for each message.
 */

declare(strict_types=1);

namespace Demo;

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class OrderHandler
{
    /** What each service tells the board when it has handled an order. */
    private const ANNOUNCES = ['kitchen' => 'order.cooking', 'accounts' => 'order.paid'];

    private Journal $journal;
    private string $service;

    public function __construct()
    {
        $this->journal = Journal::ofThisRun();
        $this->service = (string) getenv('DEMO_SERVICE');
    }

    public function handle(Message $message): void
    {
        if ($message->getEvent() !== 'order.created') {
            // What the services announce goes to the same channels, for the page.
            return;
        }
        $order = $message->getData();
        $ms = (microtime(true) - $order['placed']) * 1000;
        $this->journal->write([
            'what' => 'received',
            'id' => $message->getId(),
            'channel' => $message->getChannel(),
            'service' => $this->service,
            'partition' => $message->getPartition(),
            'offset' => $message->getOffset(),
            'ms' => $ms,
        ] + $order);

        $done = ['number' => $order['number'], 'ms' => $ms];
        Realtime::broadcast((string) $message->getChannel(), self::ANNOUNCES[$this->service], $done);
        if ($this->service === 'accounts' && $order['visitor'] !== null) {
            $invoice = ['number' => $order['number'], 'dish' => $order['dish'], 'price' => $order['price']];
            Realtime::broadcast("user.{$order['visitor']}", 'invoice', $invoice);
        }
    }
}
