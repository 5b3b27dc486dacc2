<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/**
 * A difference between the cluster and the configuration, with a remedy. `wrong` makes the comparison fail; `warning`
 * will cause problems eventually; `note` is informational.
 */
final class Difference
{
    public const WRONG = 'wrong';
    public const WARNING = 'warning';
    public const NOTE = 'note';

    /**
     * @param self::WRONG|self::WARNING|self::NOTE $level
     * @param string|null $topic null: concerns several topics
     * @param string $what description, one sentence
     * @param string $remedy what to do: a sentence or a command
     */
    public function __construct(
        public readonly string $level,
        public readonly string $kind,
        public readonly ?string $topic,
        public readonly string $what,
        public readonly string $remedy
    ) {
    }

    /** @return array<string, string|null> */
    public function toArray(): array
    {
        return [
            'level' => $this->level,
            'kind' => $this->kind,
            'topic' => $this->topic,
            'what' => $this->what,
            'remedy' => $this->remedy,
        ];
    }
}
