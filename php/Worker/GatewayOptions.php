<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * The validated options of the WebSocket gateway: realtime:gateway, and realtime:kafka:consume --websocket. Built from
 * the raw options of any host's parser. Every mistake is reported here, before anything connects.
 */
final class GatewayOptions
{
    /** Maximum of --drain, in ms: supervisors kill a process earlier than this. */
    private const LONGEST_DRAIN = 600000;

    /**
     * @param string|null $host null: as configured
     * @param int|null $port null: as configured; 0: any free one
     * @param list<string> $wsChannels empty: every topic of the prefix
     * @param int $drainMs time to drain clients on shutdown, in ms
     */
    private function __construct(
        public readonly string $broker,
        public readonly ?string $host,
        public readonly ?int $port,
        public readonly array $wsChannels,
        public readonly int $drainMs
    ) {
    }

    /**
     * The options of realtime:gateway.
     *
     * @param array<string, mixed> $raw values by option name, without dashes; null or absent: the default
     *
     * @throws UsageError an invalid option; the message names it
     */
    public static function fromArray(array $raw): self
    {
        return new self(
            OptionValue::text('--broker', $raw['broker'] ?? null) ?? 'kafka',
            OptionValue::text('--host', $raw['host'] ?? null),
            OptionValue::optionalInt('--port', $raw['port'] ?? null, 0, 65535),
            self::channels($raw),
            self::drain($raw)
        );
    }

    /**
     * The gateway options of realtime:kafka:consume; null without --websocket.
     *
     * @param array<string, mixed> $raw `websocket`: absent or false: not given; null or true: given without an address
     *
     * @throws UsageError an invalid option; the message names it
     */
    public static function fromConsume(array $raw): ?self
    {
        $given = array_key_exists('websocket', $raw) ? $raw['websocket'] : false;
        $drain = self::drain($raw);
        if ($given === false) {
            if (self::channels($raw) !== []) {
                throw new UsageError('--ws-channels requires --websocket.');
            }

            return null;
        }
        $address = $given === null || $given === true ? [] : OptionValue::address('--websocket', $given);

        return new self(
            OptionValue::text('--broker', $raw['broker'] ?? null) ?? 'kafka',
            $address['host'] ?? null,
            $address['port'] ?? null,
            self::channels($raw),
            $drain
        );
    }

    /**
     * The settings of the gateway that the options override.
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

        return $given === [] ? [] : OptionValue::channels($given, '--ws-channels');
    }

    /** @param array<string, mixed> $raw */
    private static function drain(array $raw): int
    {
        return OptionValue::int('--drain', $raw['drain'] ?? 5000, 0, self::LONGEST_DRAIN);
    }
}
