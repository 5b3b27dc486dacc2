<?php

/**
 * Reserves paid items while they are in stock.
 */

declare(strict_types=1);

namespace Saga;

final class InventoryService extends Service
{
    public function name(): string
    {
        return 'inventory';
    }

    protected function prepare(): void
    {
        $this->db->exec('CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, left INTEGER)');
        $this->db->exec("INSERT OR IGNORE INTO stock (item, left) VALUES ('book', 100), ('lamp', 0)");
        $this->db->exec('CREATE TABLE IF NOT EXISTS reservations (order_id INTEGER, item TEXT)');
    }

    protected function steps(): array
    {
        return ['PaymentProcessed' => $this->reserve(...)];
    }

    /** @param array<string, mixed> $order */
    private function reserve(array $order): string
    {
        $take = $this->db->prepare('UPDATE stock SET left = left - 1 WHERE item = ? AND left > 0');
        $take->execute([$order['item']]);
        if ($take->rowCount() === 0) {
            return 'InventoryFailed';
        }
        $this->db->prepare('INSERT INTO reservations VALUES (?, ?)')->execute([$order['id'], $order['item']]);

        return 'InventoryReserved';
    }
}
