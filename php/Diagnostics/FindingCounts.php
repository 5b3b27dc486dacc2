<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/**
 * Counts findings by level.
 */
final class FindingCounts
{
    /** @var array<string, int> */
    private array $counts = ['ok' => 0, 'warning' => 0, 'error' => 0, 'skipped' => 0];
    /** The first error: later ones may be its consequences. */
    public ?Finding $first = null;

    public function add(Finding $finding): void
    {
        $this->counts[$finding->level->value]++;
        if ($finding->level === Level::Error) {
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
     * The exit code: 1 if there is an error, or with `strict` a warning.
     */
    public function exitCode(bool $strict): int
    {
        return $this->of(Level::Error) > 0 || $strict && $this->of(Level::Warning) > 0 ? 1 : 0;
    }
}
