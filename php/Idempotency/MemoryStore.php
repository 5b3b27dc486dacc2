<?php

/**
 * Keeps the keys in this process: for tests, and for duplicates that reach one worker shortly after each other.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Another worker knows nothing of it, and nothing is left after a restart.
 *
 *     $broker->subscribe('order.*', (new Idempotency(new MemoryStore(), 'orders'))->wrap($callback));
 */
final class MemoryStore extends ClaimingStore
{
    /** @var array<string, int> handled keys and the second in which they are forgotten, oldest first */
    private array $done = [];
    /** @var array<string, string> keys in hand and their tokens */
    private array $claimed = [];

    /**
     * @param int $ttl how long a handled key is remembered, in seconds
     * @param int $limit how many at most; the oldest are forgotten first (100,000 take about 15 MB)
     * @param (Closure(): int)|null $clock the present Unix second, for tests; null: time()
     *
     * @throws ConfigurationException a number that makes no sense
     */
    public function __construct(int $ttl = 604800, private int $limit = 100_000, private ?Closure $clock = null)
    {
        // One process, one effect at a time: whoever has the key is further up in this very call stack.
        parent::__construct($ttl, PHP_INT_MAX, 0);
        if ($limit < 1) {
            throw new ConfigurationException(self::class . ": limit ($limit) is from 1.");
        }
    }

    /**
     * How many handled keys it remembers.
     */
    public function count(): int
    {
        return count($this->done);
    }

    protected function claim(string $key, string $token, string $record): Claim
    {
        if (($this->done[$key] ?? 0) > $this->now()) {
            return Claim::Done;
        }
        if (isset($this->claimed[$key])) {
            return Claim::Busy;
        }
        $this->claimed[$key] = $token;

        return Claim::Granted;
    }

    protected function confirm(string $key): void
    {
        unset($this->claimed[$key], $this->done[$key]);
        $this->done[$key] = $this->now() + $this->ttl;
        while (count($this->done) > $this->limit) {
            unset($this->done[array_key_first($this->done)]);
        }
    }

    protected function release(string $key, string $token): void
    {
        if (($this->claimed[$key] ?? null) === $token) {
            unset($this->claimed[$key]);
        }
    }

    private function now(): int
    {
        return $this->clock === null ? time() : ($this->clock)();
    }
}
