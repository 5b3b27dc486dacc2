<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Combines several stop conditions; the first one reached wins. Keeps the reason it found: a worker stops for one
 * reason.
 */
final class StopConditions implements StopCondition
{
    /** @var list<StopCondition> */
    private array $conditions;
    private ?string $met = null;

    public function __construct(StopCondition ...$conditions)
    {
        $this->conditions = array_values($conditions);
    }

    /**
     * The conditions that the options ask for, and the restart file.
     */
    public static function for(ConsumeOptions $options, RestartSignal $restart): self
    {
        return self::limits($options->maxTime, $options->maxMemory, $restart);
    }

    /**
     * @param int $maxTime seconds; 0: no limit
     * @param int $maxMemory bytes; 0: no limit
     * @param StopCondition ...$others evaluated first
     */
    public static function limits(
        int $maxTime,
        int $maxMemory,
        RestartSignal $restart,
        StopCondition ...$others
    ): self {
        $conditions = [...$others, new RestartRequested($restart)];
        if ($maxTime > 0) {
            $conditions[] = new MaxTime($maxTime);
        }
        if ($maxMemory > 0) {
            $conditions[] = new MaxMemory($maxMemory);
        }

        return new self(...$conditions);
    }

    public function reason(): ?string
    {
        foreach ($this->conditions as $condition) {
            $this->met ??= $condition->reason();
        }

        return $this->met;
    }

    /**
     * The reason found so far, without evaluating again.
     */
    public function met(): ?string
    {
        return $this->met;
    }
}
