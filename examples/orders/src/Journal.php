<?php

/**
 * A log of the actions of each service, one JSON object per line; it stands in for their databases.
 */

declare(strict_types=1);

namespace Orders;

final class Journal
{
    /** @param array<string, mixed> $entry */
    public static function write(string $service, array $entry): void
    {
        $line = json_encode(['service' => $service, 'pid' => getmypid()] + $entry, JSON_THROW_ON_ERROR) . "\n";
        file_put_contents(self::file(), $line, FILE_APPEND | LOCK_EX);
    }

    /** @return list<array<string, mixed>> */
    public static function read(): array
    {
        $lines = is_file(self::file()) ? (array) file(self::file(), FILE_IGNORE_NEW_LINES) : [];

        return array_map(static fn (string $line): array => json_decode($line, true, 512, JSON_THROW_ON_ERROR), $lines);
    }

    private static function file(): string
    {
        return getenv('ORDERS_JOURNAL') ?: sys_get_temp_dir() . '/realtime-orders.journal';
    }
}
