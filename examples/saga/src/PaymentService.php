<?php

/**
 * Charges orders, and refunds them if a later step fails.
 */

declare(strict_types=1);

namespace Saga;

final class PaymentService extends Service
{
    public function name(): string
    {
        return 'payment';
    }

    protected function prepare(): void
    {
        $this->db->exec('CREATE TABLE IF NOT EXISTS bookings (order_id INTEGER, cents INTEGER)');
    }

    protected function steps(): array
    {
        return ['OrderCreated' => $this->charge(...), 'InventoryFailed' => $this->refund(...)];
    }

    /** @param array<string, mixed> $order */
    private function charge(array $order): string
    {
        if ($order['card'] === 'declined') {
            return 'PaymentFailed';
        }
        $this->book($order['id'], $order['cents']);

        return 'PaymentProcessed';
    }

    /** @param array<string, mixed> $order */
    private function refund(array $order): string
    {
        $this->book($order['id'], -$order['cents']);

        return 'PaymentRefunded';
    }

    private function book(int $order, int $cents): void
    {
        $this->db->prepare('INSERT INTO bookings (order_id, cents) VALUES (?, ?)')->execute([$order, $cents]);
    }
}
