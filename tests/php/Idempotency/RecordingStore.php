<?php

/**
 * A store that keeps what it was asked, hands on what the test says is new, and behaves as a test wants afterwards.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use Closure;
use Throwable;
use Toporia\Realtime\Idempotency\Store;

final class RecordingStore implements Store
{
    /** @var list<array<string, string|null>> */
    public array $asked = [];
    /** @var list<string> keys that were handled */
    public array $done = [];
    /** Thrown instead of running anything. */
    public ?Throwable $fails = null;

    /** As a database: after an exception nothing of the call is marked, whatever its index says. */
    public function run(array $keys, Closure $effect): int
    {
        $this->asked[] = $keys;
        if ($this->fails !== null) {
            throw $this->fails;
        }
        $fresh = array_values(array_diff(array_keys($keys), $this->done));
        if ($fresh !== []) {
            $effect($fresh);
        }
        array_push($this->done, ...$fresh);

        return count($fresh);
    }
}
