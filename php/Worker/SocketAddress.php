<?php

/**
 * Parses an address to listen on: `6001`, `:6001`, `0.0.0.0`, `0.0.0.0:6001`, `[::1]:6001`.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Either part may be missing; its default is the configured one.
 */
final class SocketAddress
{
    /**
     * @param string $option with its dashes: `--websocket`
     *
     * @return array{host?: string, port?: int}
     *
     * @throws UsageError neither a host nor a port
     */
    public static function parse(string $option, mixed $value): array
    {
        $text = (string) OptionValue::text($option, $value);
        $match = [];
        $pattern = '/\A(?:\[(?<v6>[0-9A-Fa-f:.]+)\]|(?<host>[A-Za-z0-9._-]*[A-Za-z._-][A-Za-z0-9._-]*'
            . '|\d+\.\d+\.\d+\.\d+)?)(?::(?<port>\d+))?\z/';
        if (preg_match('/\A\d+\z/', $text) === 1) {
            return ['port' => OptionValue::int($option, $text, 0, 65535)];
        }
        if ($text === ':' || preg_match($pattern, $text, $match, PREG_UNMATCHED_AS_NULL) !== 1) {
            throw new UsageError(
                "$option=" . OptionValue::shown($value) . " is not an address. Example: $option=0.0.0.0:6001"
            );
        }
        $host = $match['v6'] ?? $match['host'] ?? null;
        $port = isset($match['port']) ? OptionValue::int($option, $match['port'], 0, 65535) : null;

        return ($host === null || $host === '' ? [] : ['host' => $host]) + ($port === null ? [] : ['port' => $port]);
    }
}
