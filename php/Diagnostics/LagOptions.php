<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/** The validated options of realtime:lag. Selects the groups, the interval, and the limits. */
final class LagOptions
{
    private const WATCH = 2;
    private const LINES = 20;

    /**
     * @param list<string> $groups names and patterns with `*`; empty: the configured groups
     * @param int $sample seconds between the two snapshots used for rates; 0: a single snapshot, no rates
     * @param int|null $watch seconds between snapshots; null: report once
     * @param int|null $threshold maximum lag in records
     * @param int|null $maxSeconds maximum lag in seconds of consuming
     * @param int $limit maximum lines per table; 0: no limit
     */
    private function __construct(
        public readonly string $broker,
        public readonly array $groups,
        public readonly bool $all,
        public readonly int $sample,
        public readonly ?int $watch,
        public readonly ?int $threshold,
        public readonly ?int $maxSeconds,
        public readonly int $limit,
        public readonly bool $partitions,
        public readonly bool $json
    ) {
    }

    /**
     * @param array<string, mixed> $options as parsed by the console
     *
     * @throws UsageError an invalid value, or conflicting options
     */
    public static function of(array $options): self
    {
        $groups = [];
        foreach ((array) ($options['group'] ?? []) as $given) {
            foreach (explode(',', (string) OptionValue::text('--group', $given)) as $name) {
                $groups[] = (string) OptionValue::text('--group', $name);
            }
        }
        if ($groups !== [] && ($options['all'] ?? false)) {
            throw new UsageError('--all and --group cannot be used together.');
        }
        $sample = OptionValue::int('--sample', $options['sample'], 0, 3600);
        $maxSeconds = OptionValue::optionalInt('--max-seconds', $options['max-seconds'] ?? null, 0);
        $watch = match ($options['watch'] ?? false) {
            false => null,
            null => self::WATCH,
            default => OptionValue::int('--watch', $options['watch'], 1, 3600),
        };
        if ($maxSeconds !== null && $sample === 0 && $watch === null) {
            throw new UsageError('--max-seconds needs rates, so it cannot be used with --sample=0.');
        }

        return new self(
            (string) OptionValue::text('--broker', $options['broker']),
            array_values(array_unique($groups)),
            (bool) ($options['all'] ?? false),
            $sample,
            $watch,
            OptionValue::optionalInt('--threshold', $options['threshold'] ?? null, 0),
            $maxSeconds,
            OptionValue::int('--limit', $options['limit'] ?? (($options['json'] ?? false) ? 0 : self::LINES), 0),
            (bool) ($options['partitions'] ?? false),
            (bool) ($options['json'] ?? false)
        );
    }

    /** True if the exit code depends on a limit. */
    public function isCheck(): bool
    {
        return $this->threshold !== null || $this->maxSeconds !== null;
    }
}
