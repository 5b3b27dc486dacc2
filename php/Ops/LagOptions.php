<?php

/**
 * The options of realtime:lag, read and checked.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/**
 * Which groups, how often, and what counts as too much.
 */
final class LagOptions
{
    private const WATCH = 2;
    private const LINES = 20;

    /**
     * @param list<string> $groups names, and patterns with `*`; empty: those of the configuration
     * @param int $sample seconds between the two looks that rates come from; 0: one look, no rates
     * @param int|null $watch seconds between looks; null: look and end
     * @param int|null $threshold most records that a group may be behind
     * @param int|null $maxSeconds most seconds of consuming that a group may be behind
     * @param int $limit most lines of a table; 0: all
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
     * @param array<string, mixed> $options as the console gives them
     *
     * @throws UsageError a wrong value, or options that contradict each other
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
            throw new UsageError('--all and --group contradict each other: give one of them.');
        }
        $sample = OptionValue::int('--sample', $options['sample'], 0, 3600);
        $maxSeconds = self::optional('--max-seconds', $options['max-seconds'] ?? null, 0);
        $watch = match ($options['watch'] ?? false) {
            false => null,
            null => self::WATCH,
            default => OptionValue::int('--watch', $options['watch'], 1, 3600),
        };
        if ($maxSeconds !== null && $sample === 0 && $watch === null) {
            throw new UsageError('--max-seconds needs rates, and so two looks: leave --sample=0 out.');
        }

        return new self(
            (string) OptionValue::text('--broker', $options['broker']),
            array_values(array_unique($groups)),
            (bool) ($options['all'] ?? false),
            $sample,
            $watch,
            self::optional('--threshold', $options['threshold'] ?? null, 0),
            $maxSeconds,
            OptionValue::int('--limit', $options['limit'] ?? (($options['json'] ?? false) ? 0 : self::LINES), 0),
            (bool) ($options['partitions'] ?? false),
            (bool) ($options['json'] ?? false)
        );
    }

    /**
     * True if the exit code says if the lag is fine.
     */
    public function isCheck(): bool
    {
        return $this->threshold !== null || $this->maxSeconds !== null;
    }

    private static function optional(string $option, mixed $value, int $min): ?int
    {
        return $value === null ? null : OptionValue::int($option, $value, $min);
    }
}
