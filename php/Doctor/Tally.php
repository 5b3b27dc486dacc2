<?php

/**
 * How many findings there were of each level.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor;

final class Tally
{
    /** @var array<string, int> */
    private array $counts = ['good' => 0, 'doubtful' => 0, 'bad' => 0, 'skipped' => 0];
    /** The first bad finding: what comes after it may be its consequence. */
    public ?Finding $first = null;

    public function add(Finding $finding): void
    {
        $this->counts[$finding->level->value]++;
        if ($finding->level === Level::Bad) {
            $this->first ??= $finding;
        }
    }

    public function of(Level $level): int
    {
        return $this->counts[$level->value];
    }

    /** @return array<string, int> */
    public function toArray(): array
    {
        return $this->counts;
    }

    /**
     * The exit code: 1 where something is bad, or with `strict` doubtful.
     */
    public function exitCode(bool $strict): int
    {
        return $this->of(Level::Bad) > 0 || $strict && $this->of(Level::Doubtful) > 0 ? 1 : 0;
    }
}
