<?php

/**
 * A request by PHP's own HTTP client. (PHP 8.5 deprecates $http_response_header.)
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

final class Http
{
    /**
     * @param array<string, mixed> $options of the `http` stream context
     *
     * @return array{list<string>, string} the lines of the header, the first of them with the status, and the body;
     *         without a response both are empty
     */
    public static function request(string $url, array $options = []): array
    {
        $context = stream_context_create(['http' => $options + ['ignore_errors' => true, 'timeout' => 10]]);
        $stream = fopen($url, 'r', false, $context);
        if ($stream === false) {
            return [[], ''];
        }
        $lines = stream_get_meta_data($stream)['wrapper_data'];
        $body = (string) stream_get_contents($stream);
        fclose($stream);

        return [$lines, $body];
    }
}
