<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\RunOptions;
use Toporia\Realtime\Worker\UsageError;

/**
 * The validated options of realtime:outbox:relay. Built from the raw options of any host's parser; defaults come from
 * the configuration.
 */
final class RelayOptions
{
    private const MAX_INT = 2147483647;

    /**
     * @param int $batchSize maximum rows per batch
     * @param int $intervalMs pause when the outbox is empty, in ms
     * @param int $maxTime seconds; 0: no limit
     * @param int $maxMemory bytes; 0: no limit
     * @param int $retention seconds to keep a sent row; 0: delete immediately
     * @param string $lock auto, advisory or lease
     * @param int $lease duration of a lease, in seconds
     */
    private function __construct(
        public readonly string $broker,
        public readonly string $table,
        public readonly int $shards,
        public readonly int $batchSize,
        public readonly int $intervalMs,
        public readonly bool $stopWhenEmpty,
        public readonly int $maxTime,
        public readonly int $maxMemory,
        public readonly int $retention,
        public readonly string $lock,
        public readonly int $lease,
        public readonly bool $json
    ) {
    }

    /**
     * @param array<string, mixed> $raw values by option name, without dashes; null or absent: the default
     *
     * @throws UsageError an invalid option; the message names it
     */
    public static function fromArray(array $raw, Settings $settings): self
    {
        $lock = OptionValue::text('--lock', $raw['lock'] ?? null) ?? $settings->lock;
        if (!in_array($lock, Settings::LOCKS, true)) {
            throw new UsageError('--lock=' . OptionValue::shown($lock) . ' is none of ' . implode(', ', Settings::LOCKS)
                . '.');
        }

        [$maxTime, $maxMemory] = RunOptions::limits($raw);

        return new self(
            OptionValue::text('--broker', $raw['broker'] ?? null) ?? 'kafka',
            OptionValue::text('--table', $raw['table'] ?? null) ?? $settings->table,
            OptionValue::int('--shards', $raw['shards'] ?? $settings->shards, 1, Outbox::MAX_SHARDS),
            OptionValue::int('--batch-size', $raw['batch-size'] ?? 500, 1, Sender::MAX_BATCH),
            OptionValue::int('--interval', $raw['interval'] ?? 500, 1, 3_600_000),
            (bool) ($raw['stop-when-empty'] ?? false),
            $maxTime,
            $maxMemory,
            OptionValue::int('--retention', $raw['retention'] ?? $settings->retention, 0, self::MAX_INT),
            $lock,
            OptionValue::int('--lease', $raw['lease'] ?? $settings->lease, 1, 3600),
            (bool) ($raw['json'] ?? false)
        );
    }
}
