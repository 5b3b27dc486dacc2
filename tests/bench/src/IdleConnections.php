<?php

/**
 * Many idle WebSockets on one gateway.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

use Closure;
use RuntimeException;

final class IdleConnections
{
    /** @var list<resource> */
    private array $sockets = [];

    /**
     * Connects, subscribes, and waits for the response, one after the other.
     *
     * @param Closure(int): ?string $channel of the n-th socket; null: none
     */
    public function __construct(string $address, string $key, int $count, Closure $channel)
    {
        for ($n = 0; $n < $count; $n++) {
            // Several loopback addresses, so that neither the ports of one nor the limit per address are exceeded.
            $from = ['socket' => ['bindto' => '127.0.' . intdiv($n, 200) . '.' . ($n % 200 + 2) . ':0']];
            $socket = stream_socket_client("tcp://$address", $code, $text, 10.0, STREAM_CLIENT_CONNECT, stream_context_create($from));
            if ($socket === false) {
                throw new RuntimeException("Socket $n: $text. ulimit -n has to be above " . $count . '.');
            }
            fwrite($socket, "GET /app/$key?protocol=7 HTTP/1.1\r\nHost: $address\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                . "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n");
            self::until($socket, 'connection_established');
            $name = $channel($n);
            if ($name !== null) {
                fwrite($socket, self::frame("{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"$name\"}}"));
                self::until($socket, 'subscription_succeeded');
            }
            $this->sockets[] = $socket;
        }
    }

    /** @param resource $socket */
    private static function until($socket, string $word): void
    {
        $read = '';
        stream_set_timeout($socket, 10);
        while (!str_contains($read, $word)) {
            $bytes = fread($socket, 4096);
            if ($bytes === false || $bytes === '') {
                throw new RuntimeException("No $word, but: $read");
            }
            $read .= $bytes;
        }
    }

    /** A text frame with a mask of zeros; shorter than 126 bytes. */
    private static function frame(string $text): string
    {
        return "\x81" . chr(0x80 | strlen($text)) . "\0\0\0\0" . $text;
    }
}
