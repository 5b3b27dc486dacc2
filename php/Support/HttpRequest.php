<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use RuntimeException;

/**
 * One HTTP request over PHP's streams, within a bound of time and bytes. PHP's own HTTP client would wait for a slow
 * response as long as a byte arrives now and then, and it needs allow_url_fopen. Redirects are not followed.
 */
final class HttpRequest
{
    /** Maximum bytes of a response before its body. */
    private const MAX_HEAD = 16384;
    private const POLL_MICROSECONDS = 50_000;

    private string $host;
    private bool $isSecure;
    private int $port;
    private string $head;

    /**
     * @param string $url `http://` or `https://`; user and password become basic authentication
     * @param array<string, string> $headers by name
     * @param string|null $ca file of the certificate authority; null: the system's
     *
     * @throws RuntimeException not such a URL
     */
    public function __construct(string $method, string $url, array $headers = [], private ?string $ca = null)
    {
        $parts = parse_url($url) ?: [];
        $scheme = strtolower($parts['scheme'] ?? '');
        if (!in_array($scheme, ['http', 'https'], true) || ($parts['host'] ?? '') === '') {
            throw new RuntimeException('it must begin with https:// or http://');
        }
        $this->isSecure = $scheme === 'https';
        $this->host = $parts['host'];
        $this->port = $parts['port'] ?? ($this->isSecure ? 443 : 80);
        $target = ($parts['path'] ?? '/') . (isset($parts['query']) ? "?{$parts['query']}" : '');
        // A space would end the request line, and receivers understand ASCII only.
        $target = preg_replace_callback('/[^\x21-\x7e]/', static fn (array $byte) => rawurlencode($byte[0]), $target);
        if (isset($parts['user'])) {
            $user = rawurldecode($parts['user']) . ':' . rawurldecode($parts['pass'] ?? '');
            $headers += ['Authorization' => 'Basic ' . base64_encode($user)];
        }
        $headers = ['Host' => $this->host . (isset($parts['port']) ? ":$this->port" : '')] + $headers;
        $headers += ['User-Agent' => 'toporia-realtime', 'Connection' => 'close'];
        $this->head = "$method $target HTTP/1.1";
        foreach ($headers as $name => $value) {
            $this->head .= "\r\n$name: $value";
        }
    }

    /** A URL as it may be shown: without user and password. */
    public static function shown(string $url): string
    {
        $user = parse_url($url) === false ? '.*@' : '[^/?#]*@';

        return (string) preg_replace("~(?<=://)$user~s", '', $url);
    }

    /**
     * @param array<string, string> $headers of this body
     * @param float $timeout of everything after the lookup of the name: connecting, TLS, sending, the response; seconds
     * @param int $maxBody bytes of the body to read; 0: none, and the headers are not read either
     *
     * @return array{int, string, string} status, its line, and the body
     *
     * @throws RuntimeException no response in time; the message is the reason
     */
    public function send(string $body, array $headers, float $timeout, int $maxBody = 0): array
    {
        $request = $this->head;
        foreach ($headers + ($body === '' ? [] : ['Content-Length' => (string) strlen($body)]) as $name => $value) {
            $request .= "\r\n$name: $value";
        }
        $until = hrtime(true) + (int) ($timeout * 1e9);
        $reasons = [];
        // The first message of TLS is the one that helps.
        set_error_handler(static function (int $level, string $message) use (&$reasons): bool {
            $reasons[] = trim((string) preg_replace('/\Astream_socket_\w+\(\): /', '', strtr($message, "\n", ' ')));

            return true;
        });
        try {
            $stream = $this->connect($timeout, $until);
        } finally {
            restore_error_handler();
        }
        if (!is_resource($stream)) {
            throw new RuntimeException($reasons[0] ?? $stream ?? "no response within $timeout s");
        }
        try {
            return self::exchange($stream, "$request\r\n\r\n$body", $until, $maxBody)
                ?? throw new RuntimeException("no response within $timeout s");
        } finally {
            fclose($stream);
        }
    }

    /** @return resource|string|null null: not in time; a text: the reason, unless PHP warned of it */
    private function connect(float $timeout, int $until): mixed
    {
        $tls = ['peer_name' => trim($this->host, '[]')] + ($this->ca === null ? [] : ['cafile' => $this->ca]);
        $stream = stream_socket_client(
            "tcp://$this->host:$this->port",
            $code,
            $why,
            $timeout,
            STREAM_CLIENT_CONNECT,
            stream_context_create(['ssl' => $tls])
        );
        if ($stream === false) {
            return (string) $why ?: 'no connection';
        }
        stream_set_blocking($stream, false);
        while ($this->isSecure) {
            $done = stream_socket_enable_crypto($stream, true, STREAM_CRYPTO_METHOD_TLS_CLIENT);
            if ($done !== 0 || hrtime(true) >= $until) {
                return $done === true ? $stream : ($done === 0 ? null : 'the connection was closed during the handshake');
            }
            self::wait($stream, false);
        }

        return $stream;
    }

    /**
     * @param resource $stream
     *
     * @return array{int, string, string}|null null: not in time
     */
    private static function exchange(mixed $stream, string $request, int $until, int $maxBody): ?array
    {
        $response = '';
        while (hrtime(true) < $until) {
            if ($request !== '') {
                $sent = @fwrite($stream, $request);
                // A receiver may respond before it has read the request, and close.
                $request = $sent === false ? '' : substr($request, $sent);
            }
            $received = (string) @fread($stream, 65536);
            $response .= $received;
            $hasEnded = $received === '' && feof($stream);
            $status = self::status($response);
            if ($status !== null) {
                preg_match('~\AHTTP/\S+ (\d{3})~', $status, $match);
                $body = $maxBody === 0 ? '' : self::body($response, $maxBody, $hasEnded);
                if ($body !== null) {
                    return [(int) ($match[1] ?? 0), $status, $body];
                }
            }
            if (strlen($response) > self::MAX_HEAD + $maxBody) {
                throw new RuntimeException('no status within ' . self::MAX_HEAD . ' bytes');
            }
            if ($hasEnded) {
                throw new RuntimeException('the connection was closed without a response');
            }
            self::wait($stream, $request !== '');
        }

        return null;
    }

    /** The line of the final status, or null if it has not arrived; heads of interim responses (1xx) are removed. */
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

    /** At most `$max` bytes of the body; null until they have arrived. */
    private static function body(string $response, int $max, bool $hasEnded): ?string
    {
        [$head, $body] = explode("\r\n\r\n", $response, 2) + [1 => null];
        if ($body === null) {
            return $hasEnded ? '' : null;
        }
        if (preg_match('/^transfer-encoding:.*\bchunked\s*$/im', $head) === 1) {
            $decoded = '';
            while (preg_match('/\A([0-9a-f]+)[^\r\n]*\r\n/i', $body, $chunk) === 1) {
                $length = (int) hexdec($chunk[1]);
                if ($length === 0) {
                    return $decoded;
                }
                $decoded .= substr($body, strlen($chunk[0]), $length);
                $body = substr($body, strlen($chunk[0]) + $length + 2);
            }

            return $hasEnded || strlen($decoded) >= $max ? substr($decoded, 0, $max) : null;
        }
        $length = preg_match('/^content-length:\s*(\d+)\s*$/im', $head, $match) === 1 ? (int) $match[1] : PHP_INT_MAX;

        return $hasEnded || strlen($body) >= min($length, $max) ? substr($body, 0, min($length, $max)) : null;
    }

    /** @param resource $stream */
    private static function wait(mixed $stream, bool $toWrite): void
    {
        [$read, $write, $except] = [[$stream], $toWrite ? [$stream] : [], []];
        // Interrupted by a signal, it returns early.
        @stream_select($read, $write, $except, 0, self::POLL_MICROSECONDS);
    }

    /**
     * Requests a health endpoint of a worker or gateway on this machine.
     *
     * @param string $address `host:port`; wildcard addresses are replaced by the loopback address
     *
     * @return array{?int, string} status and body; null: no response
     */
    public static function probe(string $address, string $path, float $timeout): array
    {
        try {
            $request = new self('GET', 'http://' . self::reachable($address) . $path);
            [$status, , $body] = $request->send('', [], $timeout, 4096);
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
