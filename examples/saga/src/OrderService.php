<?php

/**
 * Places orders, and updates their status from the events of the other services.
 */

declare(strict_types=1);

namespace Saga;

use Toporia\Realtime\Realtime;

final class OrderService extends Service
{
    public function name(): string
    {
        return 'order';
    }

    /**
     * @param array{id: int, cents: int, item: string, card: string} $order
     */
    public function place(array $order): void
    {
        $insert = $this->db->prepare('INSERT INTO orders (id, status) VALUES (?, ?)');
        $insert->execute([$order['id'], 'placed']);
        Realtime::broadcast('orders', 'OrderCreated', $order, key: "order-{$order['id']}");
    }

    protected function prepare(): void
    {
        $this->db->exec('CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, status TEXT)');
    }

    protected function steps(): array
    {
        return [
            'OrderShipped' => fn (array $order): ?string => $this->become($order, 'shipped', null),
            // Nothing was charged, so there is nothing to refund.
            'PaymentFailed' => fn (array $order): ?string => $this->become($order, 'cancelled', 'OrderCancelled'),
            'PaymentRefunded' => fn (array $order): ?string => $this->become($order, 'cancelled', 'OrderCancelled'),
        ];
    }

    /** @param array<string, mixed> $order */
    private function become(array $order, string $status, ?string $answer): ?string
    {
        $this->db->prepare('UPDATE orders SET status = ? WHERE id = ?')->execute([$status, $order['id']]);

        return $answer;
    }
}
