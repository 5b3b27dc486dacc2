<?php

/**
 * The payment service: each order goes to one of its workers. One that is killed at the wrong moment is followed by another
 * that sees its last orders again: examples/saga keeps what it did, and charges once all the same.
 */

declare(strict_types=1);

namespace Orders;

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class PaymentHandler
{
    public function handle(Message $message): void
    {
        if ($message->getEvent() !== 'order.created') {
            return;
        }
        $order = $message->getData();
        $ms = getenv('PAYMENT_MS');
        Downstream::call('payment', $ms === false ? 20 : (int) $ms);
        Journal::write('payment', ['did' => 'charged', 'order' => $order['id']]);
        Realtime::broadcast('payments', 'payment.processed', $order, key: "order-{$order['id']}");
    }
}
