<?php

/**
 * Requests health endpoints of workers and gateways on this machine.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor;

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
        $address = self::reachable($address);
        $options = ['timeout' => $timeout, 'ignore_errors' => true, 'follow_location' => 0];
        $stream = @fopen("http://$address$path", 'r', false, stream_context_create(['http' => $options]));
        if ($stream === false) {
            return [null, ''];
        }
        $head = stream_get_meta_data($stream)['wrapper_data'][0] ?? '';
        $body = (string) stream_get_contents($stream, self::MAX_BYTES);
        fclose($stream);
        if (preg_match('~\AHTTP/\S+ (\d{3})~', (string) $head, $match) !== 1) {
            return [null, ''];
        }

        return [(int) $match[1], trim($body)];
    }

    /**
     * Replaces a wildcard address by the loopback address.
     */
    public static function reachable(string $address): string
    {
        return (string) preg_replace(['/\A0\.0\.0\.0(?=:)/', '/\A(?:\[::\]|::)(?=:\d+\z)/'], ['127.0.0.1', '[::1]'], $address);
    }
}
