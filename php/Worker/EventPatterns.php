<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Support\Pattern;

/**
 * Looks up the handler of an event by name or pattern, and caches the result. An exact name wins over patterns; among
 * patterns the first listed wins.
 */
final class EventPatterns
{
    /** Bounds the cache: event names come from outside. */
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
            // PHP has turned keys such as '42' into int.
            $this->cache[$event] = Pattern::pick(array_map('strval', array_keys($this->entries)), $event);
        }
        $pattern = $this->cache[$event];

        return $pattern === null ? null : $this->entries[$pattern];
    }
}
