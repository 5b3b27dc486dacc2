<?php

/**
 * The notification service: receives the same orders as the payment service, because it has its own group.
 */

declare(strict_types=1);

namespace Orders;

use Toporia\Realtime\Message;

final class NotificationHandler
{
    public function handle(Message $message): void
    {
        $mail = ['order.created' => 'confirmation', 'payment.processed' => 'receipt'][$message->getEvent()] ?? null;
        if ($mail !== null) {
            Journal::write('notification', ['did' => $mail, 'order' => $message->getData()['id']]);
        }
    }
}
