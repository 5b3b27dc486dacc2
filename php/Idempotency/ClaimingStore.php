<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;

/**
 * Base class for stores without transactions: claim the key, run the effect, confirm the key. The key is confirmed
 * after the effect, so a crash in between repeats the effect: nothing is lost, but duplicates are possible.
 *
 * A claim keeps other workers away while the effect runs. The claim of a dead worker ends in two ways: the same record
 * takes it over immediately when redelivered (Kafka only assigns a record to another worker after the first one has
 * lost its partition), and any record after the lease.
 *
 * Custom stores implement three small methods.
 */
abstract class ClaimingStore implements Store
{
    /**
     * @param int $ttl seconds to remember a handled key
     * @param int $lease seconds a claim is valid without being confirmed; longer than the slowest effect
     * @param int $waitMs time to wait for a key claimed by another worker, in ms
     *
     * @throws ConfigurationException a number out of range
     */
    public function __construct(
        protected readonly int $ttl = 604800,
        protected readonly int $lease = 300,
        protected readonly int $waitMs = 5000
    ) {
        if ($ttl < 1 || $lease < 1 || $waitMs < 0) {
            throw new ConfigurationException(
                static::class . ": ttl ($ttl) and lease ($lease) are seconds from 1, waitMs ($waitMs) is from 0."
            );
        }
    }

    /**
     * Claims a key atomically, for $this->lease seconds.
     *
     * Granted if the key is free, its lease has expired, or it was claimed for the same record; Done if it is confirmed
     * and within its time to live; else Busy.
     *
     * @param string $token identifies this worker and run; passed to release()
     * @param string $record `topic-partition-offset`; empty: not from a record, never equal to another
     *
     * @throws Throwable the store does not respond; nothing is claimed, or release() will be called
     */
    abstract protected function claim(string $key, string $token, string $record): Claim;

    /**
     * Marks a key as handled for $this->ttl seconds, even if another worker has claimed it since: the effect has
     * happened.
     *
     * @throws Throwable the store does not respond
     */
    abstract protected function confirm(string $key): void;

    /**
     * Releases a key, unless the claim no longer belongs to this token.
     *
     * @throws Throwable the store does not respond
     */
    abstract protected function release(string $key, string $token): void;

    final public function run(array $keys, Closure $effect): int
    {
        $token = bin2hex(random_bytes(8));
        [$claimed, $busy] = $this->claimAll($keys, $token);
        if ($claimed !== []) {
            $this->runClaimed($claimed, $token, $effect);
        }
        if ($busy !== null) {
            throw new InProgressException($busy);
        }

        return count($claimed);
    }

    /**
     * Claims the keys up to the first one claimed by another worker.
     *
     * @param non-empty-array<string, string|null> $keys
     *
     * @return array{list<string>, string|null} claimed keys, and the busy key
     */
    private function claimAll(array $keys, string $token): array
    {
        $claimed = [];
        foreach ($keys as $key => $record) {
            try {
                // Never wait while holding a claim: two workers with the same keys in reverse order would deadlock.
                $claim = $this->claimWithin($claimed === [] ? $this->waitMs : 0, $key, $token, (string) $record);
            } catch (Throwable $e) {
                $this->releaseAll([...$claimed, $key], $token);
                throw $e;
            }
            if ($claim === Claim::Busy) {
                return [$claimed, $key];
            }
            if ($claim === Claim::Granted) {
                $claimed[] = $key;
            }
        }

        return [$claimed, null];
    }

    private function claimWithin(int $milliseconds, string $key, string $token, string $record): Claim
    {
        $deadline = hrtime(true) + $milliseconds * 1_000_000;
        $pause = 5_000;
        while (true) {
            $claim = $this->claim($key, $token, $record);
            if ($claim !== Claim::Busy || hrtime(true) >= $deadline) {
                return $claim;
            }
            usleep($pause);
            $pause = min($pause * 2, 200_000);
        }
    }

    /** @param non-empty-list<string> $claimed */
    private function runClaimed(array $claimed, string $token, Closure $effect): void
    {
        try {
            $effect($claimed);
        } catch (BatchException $e) {
            $done = $e->getIndex() > 0 && $e->getIndex() < count($claimed) ? $e->getIndex() : 0;
            $this->confirmAll(array_slice($claimed, 0, $done));
            $this->releaseAll(array_slice($claimed, $done), $token);
            throw $e;
        } catch (Throwable $e) {
            $this->releaseAll($claimed, $token);
            throw $e;
        }
        $this->confirmAll($claimed);
    }

    /**
     * The effect has happened, so throwing would only repeat it: try twice, then log.
     *
     * @param list<string> $keys
     */
    private function confirmAll(array $keys): void
    {
        foreach ($keys as $key) {
            try {
                try {
                    $this->confirm($key);
                } catch (Throwable) {
                    $this->confirm($key);
                }
            } catch (Throwable $e) {
                Realtime::log(
                    'error',
                    "'$key' was handled, but could not be marked ({$e->getMessage()}): "
                    . 'if it is delivered again, it is handled again.'
                );
            }
        }
    }

    /** @param list<string> $keys */
    private function releaseAll(array $keys, string $token): void
    {
        foreach ($keys as $key) {
            try {
                $this->release($key, $token);
            } catch (Throwable) {
                // Report the first failure; this claim ends with its record or its lease.
            }
        }
    }
}
