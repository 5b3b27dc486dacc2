<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use RuntimeException;
use Toporia\Realtime\Support\HttpRequest;

/** Requests health endpoints of workers and gateways on this machine. */
final class HttpProbe
{
    private const MAX_BYTES = 4096;

    /**
     * @param string $address `host:port`; wildcard addresses are replaced by the loopback address
     *
     * @return array{?int, string} status and body; null: no response
     */
    public static function get(string $address, string $path, float $timeout): array
    {
        try {
            $request = new HttpRequest('GET', 'http://' . self::reachable($address) . $path);
            [$status, , $body] = $request->send('', [], $timeout, self::MAX_BYTES);
        } catch (RuntimeException) {
            return [null, ''];
        }

        return [$status ?: null, trim($body)];
    }

    /** Replaces a wildcard address by the loopback address. */
    public static function reachable(string $address): string
    {
        return (string) preg_replace(['/\A0\.0\.0\.0(?=:)/', '/\A(?:\[::\]|::)(?=:\d+\z)/'], ['127.0.0.1', '[::1]'], $address);
    }
}
