<?php

/**
 * The payment worker: takes the payment for each new order and dispatches OrderPaid.
 */

declare(strict_types=1);

namespace App\Realtime;

use App\Events\OrderPaid;
use App\Models\Order;
use Illuminate\Contracts\Events\Dispatcher;
use Toporia\Realtime\Message;

final class TakePayment
{
    public function __construct(private Dispatcher $events)
    {
    }

    public function handle(Message $message): void
    {
        if ($message->getEvent() !== 'order.placed') {
            // This worker also receives the events it broadcasts itself.
            return;
        }
        $order = Order::query()->findOrFail($message->getData()['id']);
        // A message may be delivered twice: only the first delivery changes the order and dispatches the event.
        if (Order::query()->whereKey($order->id)->where('status', 'placed')->update(['status' => 'paid']) === 1) {
            $this->events->dispatch(new OrderPaid($order));
        }
    }
}
