<?php

/**
 * The schedule of faults: drawn from the seed before the run begins.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

final class Schedule
{
    /** A worker gets SIGKILL. */
    public const KILL = 'SIGKILL';
    /** A worker gets SIGTERM, as in a deployment, and is replaced. */
    public const TERM = 'SIGTERM';
    /** A worker gets SIGSTOP for longer than its session, then SIGCONT. */
    public const STOP = 'SIGSTOP';
    /** A Kafka node is killed, and restarted. */
    public const NODE = 'node killed';
    /** An additional worker joins. */
    public const JOIN = 'worker joins';
    /** A worker gets SIGTERM, and is not replaced. */
    public const LEAVE = 'worker leaves';

    private const WEIGHTS = [
        self::KILL => 4, self::TERM => 3, self::STOP => 2, self::NODE => 2, self::JOIN => 1, self::LEAVE => 1,
    ];

    /** @var list<array{at: float, kind: string, which: int, seconds: float}> in the order of their time */
    public readonly array $faults;

    /**
     * @param float $seconds faults happen so long
     * @param int $nodes that may be killed; 0 for none
     */
    public function __construct(int $seed, float $seconds, int $workers, int $nodes)
    {
        mt_srand($seed + 1);
        $weights = $nodes > 0 ? self::WEIGHTS : array_diff_key(self::WEIGHTS, [self::NODE => 0]);
        $bag = array_merge(...array_map(
            static fn (string $kind, int $weight): array => array_fill(0, $weight, $kind),
            array_keys($weights),
            $weights
        ));
        // Each kind once, then random ones.
        $first = array_keys($weights);
        for ($i = count($first) - 1; $i > 0; $i--) {
            $j = mt_rand(0, $i);
            [$first[$i], $first[$j]] = [$first[$j], $first[$i]];
        }
        $faults = [];
        // A short run has its faults closer together, so that each kind occurs.
        $pace = min(1.0, $seconds / 30);
        for ($at = 3.0 * $pace; $at < $seconds; $at += $pace * mt_rand(1000, 4000) / 1000) {
            $kind = array_shift($first) ?? $bag[mt_rand(0, count($bag) - 1)];
            $faults[] = [
                'at' => $at,
                'kind' => $kind,
                'which' => $kind === self::NODE ? mt_rand(1, $nodes) : mt_rand(0, $workers - 1),
                'seconds' => match ($kind) {
                    self::STOP => Settings::SESSION_MS / 1000 + mt_rand(1000, 4000) / 1000,
                    self::NODE => mt_rand(2000, 8000) / 1000,
                    default => mt_rand(100, 1000) / 1000,
                },
            ];
        }
        mt_srand();
        $this->faults = $faults;
    }
}
