<?php

/**
 * Places and broadcasts orders, for the page and for the customer in the terminal.
 */

declare(strict_types=1);

namespace Demo;

use Toporia\Realtime\Realtime;

final class Shop
{
    public const CITIES = ['hanoi', 'hue', 'dalat', 'cantho'];
    public const MENU = ['Phở bò' => 65000, 'Bánh mì' => 25000, 'Bún chả' => 55000, 'Cà phê sữa' => 29000];

    public function __construct(private Journal $journal)
    {
    }

    /**
     * Places an order and broadcasts it to the channel of the shop.
     *
     * @param string|null $visitor the id of the visitor who placed it, who gets a note of the invoice
     * @return string the message's id
     */
    public function order(string $city, string $dish, string $by, ?string $visitor = null): string
    {
        $order = [
            'number' => $this->journal->nextNumber(),
            'dish' => $dish,
            'price' => self::MENU[$dish],
            'by' => $by,
            'visitor' => $visitor,
            'placed' => microtime(true),
        ];

        $start = hrtime(true);
        $id = Realtime::broadcast("shop.$city", 'order.created', $order);
        $us = (hrtime(true) - $start) / 1e3;

        $this->journal->write(['what' => 'sent', 'id' => $id, 'channel' => "shop.$city", 'us' => $us] + $order);

        return $id;
    }
}
