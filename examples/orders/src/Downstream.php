<?php

/**
 * Simulates a remote service that is slow and may be down.
 */

declare(strict_types=1);

namespace Orders;

use RuntimeException;

final class Downstream
{
    /** @var array<string, true> */
    private static array $down = [];

    public static function takeDown(string $service): void
    {
        self::$down[$service] = true;
    }

    /**
     * @param int $ms how long the service takes
     *
     * @throws RuntimeException the service is down; thrown after the duration of a call, like a timeout
     */
    public static function call(string $service, int $ms): void
    {
        usleep($ms * 1000);
        if (isset(self::$down[$service])) {
            throw new RuntimeException("The $service service does not respond.");
        }
    }
}
