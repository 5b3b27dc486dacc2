<?php

/**
 * The payment worker: for every order placed, takes the money and says so.
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
            // What this worker says itself comes by here, too.
            return;
        }
        $order = Order::query()->findOrFail($message->getData()['id']);
        // The same message may come twice: only the first changes the order, and only that one announces it.
        if (Order::query()->whereKey($order->id)->where('status', 'placed')->update(['status' => 'paid']) === 1) {
            $this->events->dispatch(new OrderPaid($order));
        }
    }
}
