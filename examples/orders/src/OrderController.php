<?php

/**
 * The order service: what a web request runs.
 */

declare(strict_types=1);

namespace Orders;

use Toporia\Realtime\Realtime;

final class OrderController
{
    /**
     * Saves the order, says that there is one, and is done: who pays, ships or writes to the customer is not its
     * business.
     */
    public function place(int $id, int $cents): void
    {
        Journal::write('order', ['did' => 'saved', 'order' => $id]);
        // The order as the key: everything about one order stays in its order, and orders spread over the partitions.
        Realtime::broadcast('orders', 'order.created', ['id' => $id, 'cents' => $cents], key: "order-$id");
    }
}
