<?php

/**
 * A minimal pusher-js: connect, subscribe with signatures, wait for events.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\Assert;
use Toporia\Realtime\Gateway;

/**
 * Events are arrays of `event`, `channel` and `data`; a JSON string in `data` is decoded once, like in pusher-js.
 */
final class PusherClient
{
    public readonly WebSocketClient $socket;
    public readonly string $socketId;
    /** @var list<array{event: string, channel: string|null, data: mixed, at: float}> received and not asked for yet */
    private array $waiting = [];

    /**
     * Connects and waits until the connection is established.
     *
     * @param array<string, mixed> $gateway settings of the gateway: key and secrets
     * @param array<string, string> $headers of the handshake
     * @param array<string, mixed>|null $tls options of the ssl context; null: no TLS
     * @param string $prefix of the path, like wsPath of pusher-js
     */
    public function __construct(
        string $address,
        private array $gateway,
        array $headers = [],
        ?array $tls = null,
        string $prefix = ''
    ) {
        $path = "$prefix/app/{$gateway['key']}?protocol=7&client=js&version=8.4.0&flash=false";
        $this->socket = new WebSocketClient($address, $path, $headers, $tls);
        $hello = $this->event('pusher:connection_established');
        Assert::assertGreaterThan(0, $hello['data']['activity_timeout']);
        Assert::assertMatchesRegularExpression('/\A\d+\.\d+\z/', $hello['data']['socket_id']);
        $this->socketId = $hello['data']['socket_id'];
    }

    /**
     * Subscribes, signed if the channel requires it, and waits for the response.
     *
     * @param array{user_id: string|int, user_info?: mixed}|null $presence
     *
     * @return array{event: string, channel: string|null, data: mixed, at: float} subscription_succeeded
     */
    public function subscribe(string $channel, ?array $presence = null): array
    {
        $guarded = preg_match('/\A(private|presence)-/', $channel) === 1;
        $answer = $guarded ? Gateway::authorize($this->socketId, $channel, $presence, $this->gateway) : [];
        unset($answer['shared_secret']);
        $this->say('pusher:subscribe', ['channel' => $channel] + $answer);

        return $this->event('pusher_internal:subscription_succeeded', $channel);
    }

    /**
     * Sends a client event.
     */
    public function say(string $event, mixed $data, ?string $channel = null): void
    {
        $message = ['event' => $event, 'data' => $data] + ($channel === null ? [] : ['channel' => $channel]);
        $this->socket->send((string) json_encode($message));
    }

    /**
     * Waits for an event; others are kept for later.
     *
     * @return array{event: string, channel: string|null, data: mixed, at: float} `at`: when it was read (microtime)
     */
    public function event(string $event, ?string $channel = null, float $seconds = 10.0): array
    {
        $deadline = microtime(true) + $seconds;
        while (true) {
            foreach ($this->waiting as $place => $found) {
                if ($found['event'] === $event && ($channel === null || $found['channel'] === $channel)) {
                    array_splice($this->waiting, $place, 1);

                    return $found;
                }
            }
            if (microtime(true) > $deadline || !$this->pump($deadline - microtime(true))) {
                Assert::fail("No $event" . ($channel === null ? '' : " on $channel") . " within $seconds s; there was "
                    . json_encode($this->waiting));
            }
        }
    }

    /**
     * Every event within this many seconds, and the kept ones.
     *
     * @return list<string> names of events, as `event` or `event@channel`
     */
    public function rest(float $seconds = 0.3): array
    {
        $deadline = microtime(true) + $seconds;
        while (microtime(true) < $deadline && $this->pump(max(0.0, $deadline - microtime(true)))) {
            continue;
        }
        $names = array_map(
            static fn (array $e) => $e['event'] . ($e['channel'] === null ? '' : "@{$e['channel']}"),
            $this->waiting
        );
        $this->waiting = [];

        return $names;
    }

    /** Reads one frame; false if none arrived, or the connection is closed. */
    private function pump(float $seconds): bool
    {
        $frame = $this->socket->receive(max(0.0, $seconds));
        if ($frame === null) {
            return false;
        }
        if ($frame['opcode'] === WebSocketClient::PING) {
            $this->socket->sendFrame(WebSocketClient::PONG, $frame['payload']);

            return true;
        }
        if ($frame['opcode'] !== WebSocketClient::TEXT) {
            return $frame['opcode'] !== WebSocketClient::CLOSE;
        }
        $message = json_decode($frame['payload'], true, 512, JSON_THROW_ON_ERROR);
        $data = $message['data'] ?? null;
        if (is_string($data)) {
            $decoded = json_decode($data, true);
            $data = json_last_error() === JSON_ERROR_NONE ? $decoded : $data;
        }
        $this->waiting[] = [
            'event' => $message['event'],
            'channel' => $message['channel'] ?? null,
            'data' => $data,
            'at' => microtime(true),
        ];

        return true;
    }
}
