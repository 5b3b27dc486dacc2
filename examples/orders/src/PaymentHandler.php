<?php

/**
 * The payment service: each order goes to one of its workers. If a worker is killed before its offsets are committed,
 * another worker receives its last orders again. examples/saga records processed messages, so it charges only once.
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
