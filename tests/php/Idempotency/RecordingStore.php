<?php

/**
 * A store that records its calls, runs the callback as configured, and then behaves as the test wants.
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
    /** Thrown instead of running the callback. */
    public ?Throwable $fails = null;

    /** Like a database: after an exception no key of the call is marked, whatever index it names. */
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
