<?php

/**
 * Handles the orders of a service. The command instantiates its --handler class and calls handle() for each message.
 */

declare(strict_types=1);

namespace Demo;

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class OrderHandler
{
    /** The event each service broadcasts after it has handled an order. */
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
            // The services broadcast their own events to the same channels, for the page.
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
