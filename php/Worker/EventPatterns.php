<?php

/**
 * Finds the entry for an event among names and patterns, and remembers what it found.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Support\Pattern;

/**
 * The exact name before a pattern, among patterns the first listed.
 */
final class EventPatterns
{
    /** Event names come from outside: what is remembered has to have an end. */
    private const MAX_CACHED = 1000;

    /** @var array<string, string|null> pattern by event */
    private array $cache = [];

    /**
     * @param array<string, HandlerInvoker> $entries by event name or pattern
     */
    public function __construct(private array $entries)
    {
    }

    public function for(string $event): ?HandlerInvoker
    {
        if (!array_key_exists($event, $this->cache)) {
            if (count($this->cache) >= self::MAX_CACHED) {
                $this->cache = [];
            }
            // Keys such as '42' have become int.
            $this->cache[$event] = Pattern::pick(array_map('strval', array_keys($this->entries)), $event);
        }
        $pattern = $this->cache[$event];

        return $pattern === null ? null : $this->entries[$pattern];
    }
}
