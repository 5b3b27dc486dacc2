<?php

/**
 * Reads the databases of all services, which no service may do, and checks that they agree about an order.
 */

declare(strict_types=1);

namespace Saga;

final class Auditor
{
    /**
     * `placed`, `shipped` or `cancelled`.
     */
    public function status(int $order): string
    {
        return (string) $this->value('order', 'SELECT status FROM orders WHERE id = ?', $order);
    }

    /**
     * Describes the inconsistency of a finished order; null if the databases agree.
     */
    public function inconsistency(int $order, int $cents): ?string
    {
        $status = $this->status($order);
        $paid = (int) $this->value('payment', 'SELECT COALESCE(SUM(cents), 0) FROM bookings WHERE order_id = ?', $order);
        $reserved = (int) $this->value('inventory', 'SELECT COUNT(*) FROM reservations WHERE order_id = ?', $order);
        $parcels = (int) $this->value('shipping', 'SELECT COUNT(*) FROM parcels WHERE order_id = ?', $order);
        $right = match ($status) {
            'shipped' => [$paid, $reserved, $parcels] === [$cents, 1, 1],
            'cancelled' => [$paid, $reserved, $parcels] === [0, 0, 0],
            default => false,
        };

        return $right ? null : "order $order is $status, with $paid of $cents cents, $reserved reserved, $parcels parcels";
    }

    private function value(string $service, string $sql, int $order): mixed
    {
        $query = Database::of($service)->prepare($sql);
        $query->execute([$order]);

        return $query->fetchColumn();
    }
}
