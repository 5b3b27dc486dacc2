<?php

/**
 * A chat user without a browser: the requests of the page, and its WebSocket.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Examples;

use PHPUnit\Framework\Assert;
use RuntimeException;
use Toporia\Realtime\Tests\Support\Http;

final class ChatClient
{
    private string $cookie = '';
    /** @var resource|null */
    private $socket = null;
    private string $buffer = '';
    public string $socketId = '';

    public function __construct(private string $url)
    {
    }

    /**
     * @param array<string, string>|null $fields null: GET
     *
     * @return array{0: int, 1: mixed} status, and the JSON of the answer
     */
    public function request(string $path, ?array $fields = null): array
    {
        $headers = ["Cookie: $this->cookie"];
        $options = [];
        if ($fields !== null) {
            $headers[] = 'Content-Type: application/x-www-form-urlencoded';
            $options = ['method' => 'POST', 'content' => http_build_query($fields)];
        }
        [$lines, $body] = Http::request($this->url . $path, $options + ['header' => implode("\r\n", $headers)]);
        foreach ($lines as $line) {
            if (preg_match('/^Set-Cookie: ([^;]+)/i', $line, $cookie) === 1) {
                $this->cookie = $cookie[1];
            }
        }
        preg_match('~^HTTP/\S+ (\d+)~', $lines[0], $status);

        return [(int) $status[1], json_decode($body, true)];
    }

    /**
     * Sets a name, connects, and joins a room; returns its members.
     *
     * @return list<string> names
     */
    public function join(string $name, string $room): array
    {
        Assert::assertSame(200, $this->request('/enter', ['name' => $name])[0]);
        $me = $this->request('/me')[1];
        $this->connect($me);
        $this->socketId = $this->await('pusher:connection_established')['socket_id'];
        $channel = "presence-room.$room";
        [$status, $auth] = $this->request('/broadcasting/auth', [
            'socket_id' => $this->socketId,
            'channel_name' => $channel,
        ]);
        Assert::assertSame(200, $status, (string) json_encode($auth));
        $this->send(['event' => 'pusher:subscribe', 'data' => ['channel' => $channel] + $auth]);
        $people = $this->await('pusher_internal:subscription_succeeded')['presence']['hash'];
        $names = array_column($people, 'name');
        sort($names);

        return $names;
    }

    /**
     * The data of the next event of that name; other events are skipped.
     */
    public function await(string $event, float $seconds = 10.0): mixed
    {
        $deadline = microtime(true) + $seconds;
        while (microtime(true) < $deadline) {
            $frame = $this->frame($deadline);
            if ($frame !== null && ($frame['event'] ?? '') === $event) {
                return is_string($frame['data'] ?? null) ? json_decode($frame['data'], true) : $frame['data'] ?? null;
            }
        }
        throw new RuntimeException("No $event within $seconds s.");
    }

    /**
     * True if an event of that name arrives in time.
     */
    public function receives(string $event, float $seconds): bool
    {
        try {
            $this->await($event, $seconds);

            return true;
        } catch (RuntimeException) {
            return false;
        }
    }

    public function leave(): void
    {
        if ($this->socket !== null) {
            fclose($this->socket);
            $this->socket = null;
        }
    }

    /** @param array{host: string, port: int, key: string} $me */
    private function connect(array $me): void
    {
        $socket = stream_socket_client("tcp://{$me['host']}:{$me['port']}", $code, $why, 10);
        if ($socket === false) {
            throw new RuntimeException("The gateway cannot be reached: $why");
        }
        $this->socket = $socket;
        stream_set_timeout($socket, 10);
        fwrite($socket, "GET /app/{$me['key']}?protocol=7&client=js&version=8.4.0 HTTP/1.1\r\n"
            . "Host: {$me['host']}:{$me['port']}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: $this->url\r\n"
            . 'Sec-WebSocket-Key: ' . base64_encode(random_bytes(16)) . "\r\nSec-WebSocket-Version: 13\r\n\r\n");
        $answer = '';
        while (!str_ends_with($answer, "\r\n\r\n") && ($line = fgets($socket)) !== false) {
            $answer .= $line;
        }
        Assert::assertStringContainsString(' 101 ', $answer);
        stream_set_blocking($socket, false);
    }

    /** @param array<string, mixed> $message */
    private function send(array $message): void
    {
        $text = json_encode($message, JSON_THROW_ON_ERROR);
        $length = strlen($text) < 126 ? chr(0x80 | strlen($text)) : chr(0x80 | 126) . pack('n', strlen($text));
        $mask = random_bytes(4);
        $masked = $text ^ str_pad('', strlen($text), $mask);
        stream_set_blocking($this->socket, true);
        fwrite($this->socket, "\x81$length$mask$masked");
        stream_set_blocking($this->socket, false);
    }

    /** @return array<string, mixed>|null a text frame; null where none came in time, or another kind */
    private function frame(float $deadline): ?array
    {
        while (($frame = $this->take()) === null) {
            if (microtime(true) > $deadline || feof($this->socket)) {
                return null;
            }
            $read = [$this->socket];
            $write = $except = null;
            stream_select($read, $write, $except, 0, 50_000);
            $this->buffer .= (string) fread($this->socket, 65536);
        }

        return json_decode($frame, true);
    }

    /** The payload of the next whole frame, as servers send it: unmasked and unfragmented. */
    private function take(): ?string
    {
        if (strlen($this->buffer) < 2) {
            return null;
        }
        $length = ord($this->buffer[1]) & 127;
        $start = 2;
        if ($length === 126) {
            if (strlen($this->buffer) < 4) {
                return null;
            }
            $length = unpack('n', $this->buffer, 2)[1];
            $start = 4;
        }
        if (strlen($this->buffer) < $start + $length) {
            return null;
        }
        $payload = substr($this->buffer, $start, $length);
        $this->buffer = substr($this->buffer, $start + $length);

        return $payload;
    }
}
