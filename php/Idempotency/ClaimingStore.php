<?php

/**
 * Base of the stores without transactions: claim the key, run the effect, confirm the key.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;

/**
 * The mark follows the effect, so a crash in between repeats the effect: nothing is lost, something may come twice.
 *
 * A claim keeps others away while the effect runs. One whose worker died ends in two ways: the same record that comes
 * again takes it over at once (Kafka gives a record to another worker of the group only when it has given up the first),
 * and after the lease it is free for all.
 *
 * A store of your own has three small methods to write.
 */
abstract class ClaimingStore implements Store
{
    /**
     * @param int $ttl how long a handled key is remembered, in seconds
     * @param int $lease how long a claim without a word from its worker holds, in seconds; longer than the slowest effect
     * @param int $waitMs how long to wait for a key that another worker has in hand, in milliseconds
     *
     * @throws ConfigurationException a number that makes no sense
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
     * Claims a key in one atomic step, for $this->lease seconds.
     *
     * Granted where it is free, its lease is over, or the claim on it came with the same record; Done where it is
     * confirmed and within its time to live; else Busy.
     *
     * @param string $token of this worker and run; release() needs it
     * @param string $record `topic-partition-offset`; empty: not from a record, never the same
     *
     * @throws Throwable where the store does not answer; nothing is claimed then, or release() will be called
     */
    abstract protected function claim(string $key, string $token, string $record): Claim;

    /**
     * Marks a key as handled for $this->ttl seconds, whoever claims it meanwhile: the effect has happened.
     *
     * @throws Throwable where the store does not answer
     */
    abstract protected function confirm(string $key): void;

    /**
     * Frees a key again, unless the claim is no longer this token's.
     *
     * @throws Throwable where the store does not answer
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
     * Claims the keys up to the first that another worker has.
     *
     * @param non-empty-array<string, string|null> $keys
     *
     * @return array{list<string>, string|null} those claimed, and the one in the way
     */
    private function claimAll(array $keys, string $token): array
    {
        $claimed = [];
        foreach ($keys as $key => $record) {
            try {
                // Never wait while holding something: two workers with the same list turned round would wait for each other.
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
     * The effect has happened: throwing now would only repeat it. So a second try, then a line in the error log.
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
                    . 'if it comes again it will be handled again.'
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
                // The failure that led here is the one to report; this claim ends with its record or with its lease.
            }
        }
    }
}
