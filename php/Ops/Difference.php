<?php

/**
 * Something in the cluster that is not as the configuration wants it, and what to do.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

/**
 * `wrong` makes the comparison fail; `warning` will hurt some day; `note` is worth knowing.
 */
final class Difference
{
    public const WRONG = 'wrong';
    public const WARNING = 'warning';
    public const NOTE = 'note';

    /**
     * @param self::WRONG|self::WARNING|self::NOTE $level
     * @param string|null $topic null: it is about many
     * @param string $what one sentence
     * @param string $remedy what to do, one sentence or a command
     */
    public function __construct(
        public readonly string $level,
        public readonly string $kind,
        public readonly ?string $topic,
        public readonly string $what,
        public readonly string $remedy
    ) {
    }

    /**
     * @return array<string, string|null>
     */
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
