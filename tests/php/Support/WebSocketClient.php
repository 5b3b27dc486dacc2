<?php

/**
 * A raw WebSocket client: handshake and frames written by hand, so that a test can send invalid ones.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\Assert;
use RuntimeException;

final class WebSocketClient
{
    public const TEXT = 0x1;
    public const BINARY = 0x2;
    public const CLOSE = 0x8;
    public const PING = 0x9;
    public const PONG = 0xA;

    private const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

    /** @var resource */
    private $socket;
    private string $buffer = '';
    private bool $ended = false;
    /** Status line of the handshake response. */
    public readonly string $status;
    /** @var array<string, string> headers of that answer, names in lower case */
    public readonly array $headers;

    /**
     * Connects and requests the upgrade. A response other than 101 is not a failure here: check $status.
     *
     * @param string $address `host:port`
     * @param array<string, string> $headers over those of a correct handshake
     * @param array<string, mixed>|null $tls options of the ssl context; null: no TLS
     */
    public function __construct(string $address, string $path, array $headers = [], ?array $tls = null)
    {
        $url = ($tls === null ? 'tcp://' : 'tls://') . $address;
        $context = stream_context_create(['ssl' => $tls ?? []]);
        $socket = @stream_socket_client($url, $code, $text, 5.0, STREAM_CLIENT_CONNECT, $context);
        if ($socket === false) {
            throw new RuntimeException("Cannot connect to $address: $text", $code);
        }
        stream_set_blocking($socket, false);
        $this->socket = $socket;
        $key = base64_encode(random_bytes(16));
        $headers += [
            'Host' => $address,
            'Upgrade' => 'websocket',
            'Connection' => 'Upgrade',
            'Sec-WebSocket-Key' => $key,
            'Sec-WebSocket-Version' => '13',
        ];
        $request = "GET $path HTTP/1.1\r\n";
        foreach ($headers as $name => $value) {
            $request .= "$name: $value\r\n";
        }
        $this->sendRaw($request . "\r\n");
        $lines = explode("\r\n", $this->head(5.0));
        $this->status = (string) array_shift($lines);
        $found = [];
        foreach ($lines as $line) {
            [$name, $value] = explode(':', $line, 2) + [1 => ''];
            $found[strtolower($name)] = trim($value);
        }
        $this->headers = $found;
        if (str_contains($this->status, ' 101 ')) {
            Assert::assertSame(base64_encode(sha1($key . self::GUID, true)), $found['sec-websocket-accept'] ?? '');
        }
    }

    public function __destruct()
    {
        $this->hangUp();
    }

    /**
     * Sends a text message in one frame.
     */
    public function send(string $text): void
    {
        $this->sendFrame(self::TEXT, $text);
    }

    /**
     * Sends one frame, invalid if a test wants that.
     *
     * @param int $rsv the three reserved bits
     */
    public function sendFrame(int $opcode, string $payload, bool $fin = true, bool $masked = true, int $rsv = 0): void
    {
        $length = strlen($payload);
        $bit = $masked ? 0x80 : 0;
        $frame = chr(($fin ? 0x80 : 0) | ($rsv << 4) | $opcode) . match (true) {
            $length < 126 => chr($bit | $length),
            $length < 65536 => chr($bit | 126) . pack('n', $length),
            default => chr($bit | 127) . pack('J', $length),
        };
        if ($masked) {
            $mask = random_bytes(4);
            $frame .= $mask;
            $payload ^= substr(str_repeat($mask, intdiv($length, 4) + 1), 0, $length);
        }
        $this->sendRaw($frame . $payload);
    }

    public function sendRaw(string $bytes): void
    {
        $deadline = microtime(true) + 5.0;
        while ($bytes !== '' && microtime(true) < $deadline) {
            $read = $except = null;
            $write = [$this->socket];
            @stream_select($read, $write, $except, 0, 100_000);
            $written = @fwrite($this->socket, $bytes);
            if ($written === false) {
                return;
            }
            $bytes = substr($bytes, $written);
        }
    }

    /**
     * The next frame, unfragmented as servers send it; null if none arrives in time, or the connection is closed.
     *
     * @return array{opcode: int, payload: string}|null
     */
    public function receive(float $seconds = 5.0): ?array
    {
        $deadline = microtime(true) + $seconds;
        while (true) {
            $frame = $this->frame();
            if ($frame !== null) {
                return $frame;
            }
            if ($this->ended || microtime(true) >= $deadline) {
                return null;
            }
            $this->read(max(0.0, $deadline - microtime(true)));
        }
    }

    /**
     * The code and reason of the close frame, skipping everything before it; null if none arrives in time.
     *
     * @return array{int, string}|null
     */
    public function closed(float $seconds = 5.0): ?array
    {
        $deadline = microtime(true) + $seconds;
        while (($frame = $this->receive(max(0.0, $deadline - microtime(true)))) !== null) {
            if ($frame['opcode'] === self::CLOSE) {
                return strlen($frame['payload']) < 2
                    ? [1005, '']
                    : [(int) unpack('n', $frame['payload'])[1], substr($frame['payload'], 2)];
            }
        }

        return null;
    }

    /**
     * True if the peer has closed the connection.
     */
    public function hasEnded(): bool
    {
        $this->read(0.0);

        return $this->ended;
    }

    /**
     * Closes the connection without a close frame, like a cut cable.
     */
    public function hangUp(): void
    {
        if (is_resource($this->socket)) {
            fclose($this->socket);
        }
        $this->ended = true;
    }

    private function head(float $seconds): string
    {
        $deadline = microtime(true) + $seconds;
        while (($end = strpos($this->buffer, "\r\n\r\n")) === false) {
            if ($this->ended || microtime(true) > $deadline) {
                return $this->buffer;
            }
            $this->read(0.1);
        }
        $head = substr($this->buffer, 0, $end);
        $this->buffer = substr($this->buffer, $end + 4);

        return $head;
    }

    private function read(float $seconds): void
    {
        if ($this->ended) {
            return;
        }
        $read = [$this->socket];
        $write = $except = null;
        $micro = (int) ($seconds * 1_000_000);
        if (@stream_select($read, $write, $except, intdiv($micro, 1_000_000), $micro % 1_000_000) > 0) {
            // Until nothing is left: bytes that TLS has already decrypted do not wake stream_select().
            do {
                $bytes = @fread($this->socket, 1 << 20);
                $this->buffer .= (string) $bytes;
            } while ($bytes !== false && $bytes !== '');
            if ($bytes === false || feof($this->socket)) {
                $this->ended = true;
            }
        }
    }

    /** @return array{opcode: int, payload: string}|null */
    private function frame(): ?array
    {
        $size = strlen($this->buffer);
        if ($size < 2) {
            return null;
        }
        $length = ord($this->buffer[1]) & 0x7F;
        $head = 2 + match ($length) {
            126 => 2,
            127 => 8,
            default => 0,
        };
        if ($size < $head) {
            return null;
        }
        $length = match ($length) {
            126 => (int) unpack('n', $this->buffer, 2)[1],
            127 => (int) unpack('J', $this->buffer, 2)[1],
            default => $length,
        };
        if ($size < $head + $length) {
            return null;
        }
        $first = ord($this->buffer[0]);
        $payload = substr($this->buffer, $head, $length);
        Assert::assertSame(0, $first & 0x70, 'no reserved bits: no extension was negotiated');
        Assert::assertSame(0, ord($this->buffer[1]) & 0x80, 'a server does not mask');
        Assert::assertSame(0x80, $first & 0x80, 'one frame a message');
        $this->buffer = substr($this->buffer, $head + $length);

        return ['opcode' => $first & 0x0F, 'payload' => $payload];
    }
}
