<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * The validated options of realtime:kafka:consume. Built from the raw options of any host's parser. Every mistake is
 * reported here, before anything connects.
 */
final class ConsumeOptions
{
    /** Upper limit of times in ms and s: librdkafka stores them in an int. */
    private const MAX_INT = 2147483647;

    /**
     * @param list<string> $channels names and patterns; empty only with a gateway
     * @param int $batchSize maximum records per batch
     * @param int $timeoutMs poll timeout, in ms
     * @param int $maxMessages 0: no limit
     * @param int $maxTime seconds; 0: no limit
     * @param int $maxMemory bytes; 0: no limit
     * @param bool $deadLetters false: none, whatever the configuration says
     * @param int|null $handlerLifetime seconds; 0: a new handler for every message; null: the default of the host
     */
    private function __construct(
        public readonly string $broker,
        public readonly array $channels,
        public readonly int $batchSize,
        public readonly int $timeoutMs,
        public readonly int $maxMessages,
        public readonly bool $stopWhenEmpty,
        public readonly ?string $handler,
        public readonly ?string $group,
        public readonly FromPosition $from,
        public readonly int $maxTime,
        public readonly int $maxMemory,
        public readonly bool $json,
        public readonly bool $deadLetters,
        public readonly ?GatewayOptions $gateway,
        public readonly ?int $handlerLifetime,
        private bool $forcesDeadLetters
    ) {
    }

    /**
     * @param array<string, mixed> $raw values by option name, without dashes; null or absent: the default
     *
     * @throws UsageError an invalid option; the message names it
     */
    public static function fromArray(array $raw): self
    {
        if (($raw['no-dlq'] ?? false) && ($raw['dlq-enabled'] ?? false)) {
            throw new UsageError('--no-dlq and --dlq-enabled cannot be used together.');
        }
        $gateway = GatewayOptions::fromConsume($raw);
        [$maxTime, $maxMemory] = RunOptions::limits($raw);
        $channels = $raw['channels'] ?? null;
        $none = $gateway !== null && ($channels === null || $channels === []) && !isset($raw['handler']);

        return new self(
            OptionValue::text('--broker', $raw['broker'] ?? null) ?? 'kafka',
            $none ? [] : OptionValue::channels($channels),
            OptionValue::int('--batch-size', $raw['batch-size'] ?? 100, 1, 1000000),
            OptionValue::int('--timeout', $raw['timeout'] ?? 1000, 1, self::MAX_INT),
            OptionValue::int('--max-messages', $raw['max-messages'] ?? 0, 0),
            (bool) ($raw['stop-when-empty'] ?? false),
            OptionValue::text('--handler', $raw['handler'] ?? null),
            OptionValue::text('--group', $raw['group'] ?? null),
            FromPosition::parse($raw['from'] ?? null),
            $maxTime,
            $maxMemory,
            (bool) ($raw['json'] ?? false),
            !($raw['no-dlq'] ?? false),
            $gateway,
            OptionValue::optionalInt('--handler-lifetime', $raw['handler-lifetime'] ?? null, 0, self::MAX_INT),
            (bool) ($raw['dlq-enabled'] ?? false)
        );
    }

    /**
     * Rejects consumer options when nothing is consumed: with --websocket and no handler, only the gateway runs.
     *
     * @throws UsageError a consumer option was given
     */
    public function rejectConsumerOptions(): void
    {
        $given = array_keys(array_filter([
            '--max-messages' => $this->maxMessages > 0,
            '--stop-when-empty' => $this->stopWhenEmpty,
            '--from' => $this->from->seeks(),
            '--group' => $this->group !== null,
            '--no-dlq' => !$this->deadLetters,
            '--dlq-enabled' => $this->forcesDeadLetters,
            '--handler-lifetime' => $this->handlerLifetime !== null,
        ]));
        if ($given !== []) {
            throw new UsageError(
                "$given[0] requires a consumer, but with --websocket and no handler only the gateway runs. Add --channels "
                . 'with a --handler or realtime.handlers, or remove the option.'
            );
        }
    }

    /**
     * The settings of the broker that the options override.
     *
     * @return array<string, mixed>
     */
    public function settings(): array
    {
        return ($this->group === null ? [] : ['consumer_group' => $this->group])
            + ($this->deadLetters ? [] : ['dlq' => false])
            + ($this->forcesDeadLetters ? ['dlq' => true] : []);
    }
}
