<?php

/**
 * Stops a worker that has grown beyond so many bytes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;

/**
 * Looks at what the process holds, native buffers included, because that is what the kernel and containers limit.
 */
final class MaxMemory implements StopCondition
{
    /** @var Closure(): int */
    private Closure $usage;

    /**
     * @param (Closure(): int)|null $usage in bytes; null: of this process
     */
    public function __construct(private int $bytes, ?Closure $usage = null)
    {
        $this->usage = $usage ?? self::resident(...);
    }

    public function reason(): ?string
    {
        return ($this->usage)() >= $this->bytes ? 'max_memory' : null;
    }

    /**
     * The resident set of this process in bytes; where the system does not tell, what PHP itself has allocated.
     */
    public static function resident(): int
    {
        $status = @file_get_contents('/proc/self/status');
        if ($status !== false && preg_match('/^VmRSS:\s+(\d+) kB/m', $status, $match) === 1) {
            return (int) $match[1] * 1024;
        }

        return memory_get_usage(true);
    }
}
