<?php

/**
 * Ships orders that are paid and reserved.
 */

declare(strict_types=1);

namespace Saga;

final class ShippingService extends Service
{
    public function name(): string
    {
        return 'shipping';
    }

    protected function prepare(): void
    {
        $this->db->exec('CREATE TABLE IF NOT EXISTS parcels (order_id INTEGER)');
    }

    protected function steps(): array
    {
        return ['InventoryReserved' => $this->ship(...)];
    }

    /** @param array<string, mixed> $order */
    private function ship(array $order): string
    {
        $this->db->prepare('INSERT INTO parcels VALUES (?)')->execute([$order['id']]);

        return 'OrderShipped';
    }
}
