<?php

/**
 * The order service: the code of a web request.
 */

declare(strict_types=1);

namespace Orders;

use Toporia\Realtime\Realtime;

final class OrderController
{
    /**
     * Saves the order, broadcasts an event and returns. Payment, shipping and notification are up to the services that
     * consume the event.
     */
    public function place(int $id, int $cents): void
    {
        Journal::write('order', ['did' => 'saved', 'order' => $id]);
        // Keyed by order: the events of one order stay in sequence, and orders are spread over the partitions.
        Realtime::broadcast('orders', 'order.created', ['id' => $id, 'cents' => $cents], key: "order-$id");
    }
}
