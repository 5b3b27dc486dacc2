<?php

/**
 * The options of the WebSocket gateway, of realtime:gateway and of realtime:kafka:consume --websocket.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Made from what any host's option parser gives; everything wrong is found here, before anything connects.
 */
final class GatewayOptions
{
    /** The longest drain that makes sense: supervisors lose patience earlier. */
    private const LONGEST_DRAIN = 600000;
    private const MAX_INT = 2147483647;

    /**
     * @param string|null $host null: as configured
     * @param int|null $port null: as configured; 0: any free one
     * @param list<string> $wsChannels empty: every topic of the prefix
     * @param int $drainMs how long the end may take, in ms
     * @param int $maxTime seconds; 0: no limit
     * @param int $maxMemory bytes; 0: no limit
     */
    private function __construct(
        public readonly string $broker,
        public readonly ?string $host,
        public readonly ?int $port,
        public readonly array $wsChannels,
        public readonly int $drainMs,
        public readonly int $maxTime,
        public readonly int $maxMemory
    ) {
    }

    /**
     * Of realtime:gateway.
     *
     * @param array<string, mixed> $raw by option name without dashes; one that is absent or null has its default
     *
     * @throws UsageError naming the option
     */
    public static function fromArray(array $raw): self
    {
        return new self(
            OptionValue::text('--broker', $raw['broker'] ?? null) ?? 'kafka',
            OptionValue::text('--host', $raw['host'] ?? null),
            isset($raw['port']) ? OptionValue::int('--port', $raw['port'], 0, 65535) : null,
            self::channels($raw),
            self::drain($raw),
            OptionValue::int('--max-time', $raw['max-time'] ?? 0, 0, self::MAX_INT),
            isset($raw['max-memory']) ? OptionValue::memory('--max-memory', $raw['max-memory']) : 0
        );
    }

    /**
     * Of realtime:kafka:consume; null without --websocket.
     *
     * @param array<string, mixed> $raw `websocket`: absent or false: not given; null or true: given without an address
     *
     * @throws UsageError naming the option
     */
    public static function fromConsume(array $raw): ?self
    {
        $given = array_key_exists('websocket', $raw) ? $raw['websocket'] : false;
        $drain = self::drain($raw);
        if ($given === false) {
            if (self::channels($raw) !== []) {
                throw new UsageError('--ws-channels narrows what sockets may subscribe to: it needs --websocket.');
            }

            return null;
        }
        $address = $given === null || $given === true ? [] : SocketAddress::parse('--websocket', $given);

        return new self(
            OptionValue::text('--broker', $raw['broker'] ?? null) ?? 'kafka',
            $address['host'] ?? null,
            $address['port'] ?? null,
            self::channels($raw),
            $drain,
            OptionValue::int('--max-time', $raw['max-time'] ?? 0, 0, self::MAX_INT),
            isset($raw['max-memory']) ? OptionValue::memory('--max-memory', $raw['max-memory']) : 0
        );
    }

    /**
     * What the options change in the configuration of the gateway.
     *
     * @return array<string, mixed>
     */
    public function settings(): array
    {
        return ['broker' => $this->broker]
            + ($this->host === null ? [] : ['host' => $this->host])
            + ($this->port === null ? [] : ['port' => $this->port])
            + ($this->wsChannels === [] ? [] : ['ws_channels' => $this->wsChannels]);
    }

    /**
     * @param array<string, mixed> $raw
     *
     * @return list<string>
     */
    private static function channels(array $raw): array
    {
        $given = $raw['ws-channels'] ?? [];

        return $given === [] ? [] : ChannelList::parse($given, '--ws-channels');
    }

    /** @param array<string, mixed> $raw */
    private static function drain(array $raw): int
    {
        return OptionValue::int('--drain', $raw['drain'] ?? 5000, 0, self::LONGEST_DRAIN);
    }
}
