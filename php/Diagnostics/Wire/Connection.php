<?php

/**
 * A connection to one broker; DNS, TCP and TLS are separate steps.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

use OpenSSLCertificate;

/**
 * Sends one request at a time. Throws WireException with the failed step.
 */
final class Connection
{
    /** Maximum response size; real responses are far smaller. */
    private const MAX_BYTES = 16 << 20;

    /** @var resource */
    private $stream;
    private int $number = 0;
    /** A closed connection has a different meaning before and after the first response. */
    private bool $hasResponded = false;

    private function __construct(private string $host, private int $port, private float $timeout)
    {
    }

    /**
     * Opens the TCP connection only.
     *
     * @param float $timeout timeout per step, in seconds
     */
    public static function open(string $host, int $port, float $timeout): self
    {
        $connection = new self($host, $port, $timeout);
        $connection->connect($connection->resolve());

        return $connection;
    }

    /**
     * Reads the broker's certificate without verifying it; the connection is closed afterwards.
     */
    public function certificate(Security $security): Certificate
    {
        $this->handshake($security, false);
        $found = stream_context_get_options($this->stream)['ssl']['peer_certificate'] ?? null;
        $this->close();
        if (!$found instanceof OpenSSLCertificate) {
            throw new WireException(WireException::TLS, 'the broker sent no certificate');
        }

        return Certificate::of($found);
    }

    /**
     * Switches to TLS and verifies the broker as configured.
     *
     * @return string the version: `TLSv1.3`
     */
    public function secure(Security $security): string
    {
        $this->handshake($security, true);

        return (string) (stream_get_meta_data($this->stream)['crypto']['protocol'] ?? 'TLS');
    }

    /**
     * Sends a request and waits for the response.
     *
     * @param bool $flexible use the flexible header version, with tagged fields
     */
    public function request(int $api, int $version, string $body = '', bool $flexible = false): Bytes
    {
        $number = ++$this->number;
        $head = pack('nnN', $api, $version, $number) . Bytes::string('realtime-doctor') . ($flexible ? "\0" : '');
        $request = Bytes::blob($head . $body);
        if (@fwrite($this->stream, $request) !== strlen($request)) {
            throw $this->noResponse('closed');
        }
        $length = unpack('N', $first = $this->receive(4))[1];
        if ($length > self::MAX_BYTES || $length < 4) {
            throw $this->notKafka($first);
        }
        $response = new Bytes($this->receive($length));
        if ($response->int32() !== $number) {
            throw new WireException(WireException::API, 'it responds, but not with the Kafka protocol');
        }
        if ($flexible) {
            $response->skipTags();
        }
        $this->hasResponded = true;

        return $response;
    }

    public function close(): void
    {
        if (is_resource($this->stream)) {
            fclose($this->stream);
        }
    }

    public function __destruct()
    {
        $this->close();
    }

    /** @return list<string> addresses, IPv4 first, as most brokers listen on IPv4 */
    private function resolve(): array
    {
        $host = trim($this->host, '[]');
        if (filter_var($host, FILTER_VALIDATE_IP) !== false) {
            return [$host];
        }
        $found = gethostbynamel($host) ?: [];
        if ($found === []) {
            // gethostbynamel() only finds IPv4 addresses.
            $found = array_column(@dns_get_record($host, DNS_AAAA) ?: [], 'ipv6');
        }
        if ($found === []) {
            throw new WireException(
                WireException::DNS,
                "the name $host cannot be resolved here",
                "Check the spelling, `getent hosts $host`, /etc/hosts and /etc/resolv.conf."
            );
        }

        return $found;
    }

    /** @param list<string> $addresses */
    private function connect(array $addresses): void
    {
        $why = '';
        foreach ($addresses as $address) {
            $target = str_contains($address, ':') ? "[$address]" : $address;
            $stream = @stream_socket_client("tcp://$target:$this->port", $code, $why, $this->timeout);
            if (is_resource($stream)) {
                $this->stream = $stream;
                $seconds = (int) $this->timeout;
                stream_set_timeout($stream, $seconds, (int) (($this->timeout - $seconds) * 1_000_000));

                return;
            }
        }
        $shown = implode(', ', $addresses);
        $refused = str_contains(strtolower($why), 'refused');
        throw new WireException(
            WireException::TCP,
            $refused
                ? "$shown refuses connections to port $this->port: nothing listens there"
                : "$shown cannot be connected to at port $this->port (" . (strtolower($why) ?: 'no response') . ')',
            $refused
                ? 'Start the broker, or correct its address in `brokers` (KAFKA_BROKERS).'
                : 'Does a firewall or a security group block the connection? Is the machine up?'
        );
    }

    private function handshake(Security $security, bool $trust): void
    {
        foreach ($security->streamOptions($this->host, $trust) as $name => $value) {
            stream_context_set_option($this->stream, 'ssl', $name, $value);
        }
        $warnings = [];
        set_error_handler(static function (int $level, string $message) use (&$warnings): bool {
            $warnings[] = $message;

            return true;
        });
        try {
            $done = stream_socket_enable_crypto($this->stream, true, STREAM_CRYPTO_METHOD_TLS_CLIENT);
        } finally {
            restore_error_handler();
        }
        if ($done !== true) {
            $reason = self::reason($warnings);
            throw str_contains($reason, 'timed out') ? $this->timedOut(WireException::TLS)
                : new WireException(WireException::TLS, $reason);
        }
    }

    /** @param list<string> $warnings PHP's warnings */
    private static function reason(array $warnings): string
    {
        $all = implode(' ', $warnings);
        if (preg_match('/error:[0-9A-F]+:(.+?)(?:\s*(?:Failed|stream_)|$)/s', $all, $match) === 1) {
            return trim(preg_replace('/\s+/', ' ', $match[1]) ?? '');
        }
        $last = preg_replace('/^stream_socket_enable_crypto\(\):\s*/', '', trim((string) end($warnings)));

        return $last === '' ? 'the broker closed the connection during the handshake' : (string) $last;
    }

    private function receive(int $length): string
    {
        $bytes = '';
        while (strlen($bytes) < $length) {
            $more = @fread($this->stream, $length - strlen($bytes));
            if ($more === false || $more === '') {
                throw $this->noResponse(stream_get_meta_data($this->stream)['timed_out'] ? 'silent' : 'closed', $bytes);
            }
            $bytes .= $more;
        }

        return $bytes;
    }

    private function noResponse(string $how, string $received = ''): WireException|ConnectionClosed
    {
        if ($received !== '') {
            return $this->notKafka($received);
        }

        return $how === 'silent'
            ? $this->timedOut(WireException::API)
            : new ConnectionClosed($this->hasResponded);
    }

    private function timedOut(string $step): WireException
    {
        return new WireException(
            $step,
            "the port is open, but nothing responds within $this->timeout s",
            'Is the broker overloaded, frozen or starting? Check its log and the load of its machine.'
        );
    }

    /** The peer is not Kafka, or expects TLS. */
    private function notKafka(string $bytes): WireException|ConnectionClosed
    {
        if (str_starts_with($bytes, "\x15\x03")) {
            return new ConnectionClosed($this->hasResponded);
        }

        return new WireException(
            WireException::API,
            (str_starts_with($bytes, 'HTTP') ? 'a web server' : 'another program') . ' responds at this port, '
                . 'not Kafka',
            'Correct the port in `brokers` (KAFKA_BROKERS); Kafka\'s own is usually 9092.'
        );
    }
}
