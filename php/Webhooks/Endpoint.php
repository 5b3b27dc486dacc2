<?php

/**
 * Posts webhooks to one URL, signed as Pusher signs them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Webhooks;

use Toporia\Realtime\Worker\UsageError;

/**
 * A response of 2xx means that the receiver has the webhook. Only its status is read, within a bound of time and bytes:
 * PHP's own HTTP client would wait for a slow response as long as a byte arrives now and then.
 */
final class Endpoint
{
    /** Maximum bytes of a response before its final status. */
    private const MAX_RESPONSE = 16384;
    private const POLL_MICROSECONDS = 50_000;

    private bool $isSecure;
    private string $host;
    private int $port;
    private string $head;

    /**
     * @param string $key application key, sent as X-Pusher-Key
     * @param string $secret signs the body for X-Pusher-Signature
     * @param float $timeout of the connection attempt, and of sending with the response, in seconds
     */
    public function __construct(
        public readonly string $url,
        string $key,
        private string $secret,
        private float $timeout = 5.0
    ) {
        $parts = parse_url($url);
        if (!in_array($parts['scheme'] ?? '', ['http', 'https'], true) || ($parts['host'] ?? '') === '') {
            throw new UsageError("\"$url\" is not a URL of webhooks: it must begin with https:// or http://.");
        }
        $this->isSecure = $parts['scheme'] === 'https';
        $this->host = $parts['host'];
        $this->port = $parts['port'] ?? ($this->isSecure ? 443 : 80);
        $lines = [
            'POST ' . ($parts['path'] ?? '/') . (isset($parts['query']) ? "?{$parts['query']}" : '') . ' HTTP/1.1',
            "Host: $this->host" . (isset($parts['port']) ? ":$this->port" : ''),
            'Content-Type: application/json',
            "X-Pusher-Key: $key",
            'User-Agent: toporia-realtime',
            'Connection: close',
        ];
        if (isset($parts['user'])) {
            $user = rawurldecode($parts['user']) . ':' . rawurldecode($parts['pass'] ?? '');
            $lines[] = 'Authorization: Basic ' . base64_encode($user);
        }
        $this->head = implode("\r\n", $lines);
    }

    /**
     * Makes one attempt; the caller decides about retries.
     *
     * @return string|null null if the receiver has accepted it; otherwise the reason
     */
    public function post(string $body): ?string
    {
        $stream = $this->connect();
        if (is_string($stream)) {
            return $stream;
        }
        $signature = hash_hmac('sha256', $body, $this->secret);
        $length = strlen($body);
        $request = "$this->head\r\nX-Pusher-Signature: $signature\r\nContent-Length: $length\r\n\r\n$body";
        try {
            return $this->exchange($stream, $request);
        } finally {
            fclose($stream);
        }
    }

    /** @return resource|string the reason if there is no connection */
    private function connect(): mixed
    {
        $context = stream_context_create(['ssl' => ['peer_name' => trim($this->host, '[]')]]);
        $address = ($this->isSecure ? 'tls' : 'tcp') . "://$this->host:$this->port";
        $reasons = [];
        // The first message of TLS is the one that helps.
        set_error_handler(static function (int $level, string $message) use (&$reasons): bool {
            $reasons[] = (string) preg_replace('/\Astream_socket_client\(\): /', '', strtr($message, "\n", ' '));

            return true;
        });
        try {
            $stream = stream_socket_client($address, $code, $why, $this->timeout, STREAM_CLIENT_CONNECT, $context);
        } finally {
            restore_error_handler();
        }

        return $stream === false ? ($reasons[0] ?? $why ?: 'no connection') : $stream;
    }

    /**
     * Sends the request and reads the status.
     *
     * @param resource $stream
     */
    private function exchange(mixed $stream, string $request): ?string
    {
        stream_set_blocking($stream, false);
        $until = hrtime(true) + (int) ($this->timeout * 1e9);
        $response = '';
        while (hrtime(true) < $until) {
            if ($request !== '') {
                $sent = @fwrite($stream, $request);
                // A receiver may respond before it has read the request, and close.
                $request = $sent === false ? '' : substr($request, $sent);
            }
            $received = (string) @fread($stream, 8192);
            $response .= $received;
            $status = self::status($response);
            if ($status !== null) {
                return preg_match('~\AHTTP/\S+ 2\d\d~', $status) === 1 ? null : $status;
            }
            if (strlen($response) > self::MAX_RESPONSE) {
                return 'no status within ' . self::MAX_RESPONSE . ' bytes';
            }
            if ($received === '' && feof($stream)) {
                return 'the connection was closed without a response';
            }
            [$read, $write, $except] = [[$stream], $request === '' ? [] : [$stream], []];
            // Interrupted by a signal, it returns early.
            @stream_select($read, $write, $except, 0, self::POLL_MICROSECONDS);
        }

        return "no response within $this->timeout s";
    }

    /**
     * The line of the final status, or null if it has not arrived; heads of interim responses (1xx) are removed.
     */
    private static function status(string &$response): ?string
    {
        while (preg_match('~\AHTTP/\S+ 1\d\d~', $response) === 1) {
            $end = strpos($response, "\r\n\r\n");
            if ($end === false) {
                return null;
            }
            $response = substr($response, $end + 4);
        }
        $end = strpos($response, "\n");

        return $end === false ? null : rtrim(substr($response, 0, $end));
    }
}
