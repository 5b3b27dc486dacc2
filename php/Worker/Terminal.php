<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * The output of a worker, reduced to the operations it needs. Implemented for each host's own output.
 */
interface Terminal
{
    /**
     * Writes a permanent line.
     */
    public function line(string $text): void;

    /**
     * Replaces the status line; an empty text removes it. Ignored if the output is not a terminal.
     */
    public function status(string $text): void;

    /**
     * True if the output is a terminal rather than a file or a pipe.
     */
    public function isInteractive(): bool;
}
