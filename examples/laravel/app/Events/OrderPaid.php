<?php

/**
 * Notifies the customer's browser and the public channel "sales" that an order is paid. Sent without the queue.
 */

declare(strict_types=1);

namespace App\Events;

use App\Models\Order;
use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PrivateChannel;
use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

final class OrderPaid implements ShouldBroadcastNow
{
    public function __construct(private Order $order)
    {
    }

    /** @return array<int, Channel> */
    public function broadcastOn(): array
    {
        return [new PrivateChannel('user.' . $this->order->user_id), new Channel('sales')];
    }

    public function broadcastAs(): string
    {
        return 'order.paid';
    }

    /** @return array<string, mixed> */
    public function broadcastWith(): array
    {
        return ['id' => $this->order->id];
    }
}
