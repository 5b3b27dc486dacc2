<?php

/**
 * Where a worker writes, as little of it as it needs.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Implemented on each host's own output.
 */
interface Terminal
{
    /**
     * Writes a line that stays.
     */
    public function line(string $text): void;

    /**
     * Writes the line that is rewritten in place; an empty one removes it. Ignored where nobody watches.
     */
    public function status(string $text): void;

    /**
     * Whether somebody watches: a terminal, not a file or a pipe.
     */
    public function isInteractive(): bool;
}
