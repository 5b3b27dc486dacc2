<?php

/**
 * The callback's action for each number: derived from the seed alone, so that workers and checker agree without
 * communicating.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

final class Behaviour
{
    /** Only forwards the number. */
    public const FINE = 'fine';
    /** Takes up to 100 ms. */
    public const SLOW = 'slow';
    /** Takes longer than max.poll.interval.ms allows, once. */
    public const OVERSLEEP = 'oversleep';
    /** Throws at the first or the first two attempts. */
    public const TRANSIENT = 'transient';
    /** Always throws, before it forwards. */
    public const THROW = 'throw';
    /** Always throws, after it has forwarded. */
    public const THROW_LATE = 'throw-late';
    /** Throws a Permanent exception. */
    public const PERMANENT = 'permanent';
    /** Calls exit at the first attempt, or always. */
    public const EXIT_ONCE = 'exit-once';
    public const EXIT = 'exit';
    /** Exceeds memory_limit at the first attempt, or always. */
    public const MEMORY_ONCE = 'memory-once';
    public const MEMORY = 'memory';

    /** Actions that end as a dead letter, with the exception class in it. */
    public const DOOMED = [
        self::THROW => 'RuntimeException',
        self::THROW_LATE => 'RuntimeException',
        self::PERMANENT => 'Toporia\\Realtime\\Exception\\PermanentException',
        self::EXIT => 'FatalError',
        self::MEMORY => 'FatalError',
    ];
    /** How much callbacks misbehave: they are only slow, they also throw, or everything. */
    public const CALM = 'calm';
    public const THROWING = 'throwing';
    public const ALL = 'all';
    public const LEVELS = [self::CALM, self::THROWING, self::ALL];
    /** Actions that end the process. */
    public const DEADLY = [self::EXIT_ONCE, self::EXIT, self::MEMORY_ONCE, self::MEMORY];
    /** Exit code of a callback that calls exit. */
    public const EXIT_CODE = 17;
    /** After this many keys the order repeats. */
    public const KEYS = 500;

    /** @var array<int, string> number => what happens, where it is not FINE */
    private array $special = [];

    /** @param string $level of LEVELS */
    public function __construct(int $seed, int $messages, string $level = self::ALL)
    {
        $between = static fn (int $least, int $each, int $most): int =>
            (int) max($least, min($most, $messages / $each));
        $counts = [
            self::SLOW => $between(10, 500, 2000),
            self::TRANSIENT => $between(10, 500, 2000),
            self::THROW => $between(6, 2000, 500),
            self::THROW_LATE => $between(4, 3000, 300),
            self::PERMANENT => $between(3, 5000, 200),
            self::EXIT_ONCE => $between(2, 10_000, 15),
            self::EXIT => $between(1, 50_000, 5),
            self::MEMORY_ONCE => $between(1, 20_000, 8),
            self::MEMORY => $between(1, 100_000, 3),
            self::OVERSLEEP => $between(1, 200_000, 3),
        ];
        $left = match ($level) {
            self::CALM => [self::SLOW => 0, self::OVERSLEEP => 0],
            self::THROWING => array_diff_key($counts, array_flip(self::DEADLY)),
            default => $counts,
        };
        $counts = array_intersect_key($counts, $left);
        mt_srand($seed);
        foreach ($counts as $what => $count) {
            while ($count > 0) {
                $number = mt_rand(0, $messages - 1);
                if (!isset($this->special[$number])) {
                    $this->special[$number] = $what;
                    $count--;
                }
            }
        }
        mt_srand();
    }

    public function of(int $number): string
    {
        return $this->special[$number] ?? self::FINE;
    }

    /**
     * All special numbers, with their action.
     *
     * @return array<int, string>
     */
    public function special(): array
    {
        return $this->special;
    }

    /**
     * True if it must be dead-lettered, in the modes with dead letters.
     */
    public function isDeadLettered(int $number): bool
    {
        return isset(self::DOOMED[$this->of($number)]);
    }

    /**
     * One in ten goes through the raw topic and has no key: its order is not guaranteed.
     */
    public static function key(int $number): ?string
    {
        return $number % 10 === 9 ? null : 'key-' . $number % self::KEYS;
    }
}
