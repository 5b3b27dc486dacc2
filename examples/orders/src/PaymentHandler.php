<?php

/**
 * The payment service: charges each order once, however many of its workers run.
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
