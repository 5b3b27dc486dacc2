<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;

/**
 * Stops a worker whose memory exceeds a limit. Measures resident memory, native buffers included, because that is what
 * the kernel and containers limit.
 */
final class MaxMemory implements StopCondition
{
    /** @var Closure(): int */
    private Closure $usage;

    /**
     * @param (Closure(): int)|null $usage returns bytes; null: measures this process
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
     * The resident set size in bytes; where /proc is not available, the memory allocated by PHP.
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
