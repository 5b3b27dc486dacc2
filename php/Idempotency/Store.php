<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Toporia\Realtime\Exception\BatchException;

/**
 * Remembers which messages were handled. A single method, because mark and effect belong together: a database puts both
 * into one transaction.
 *
 * A custom store without transactions should extend ClaimingStore instead.
 */
interface Store
{
    /**
     * Runs the effect for the keys that are not marked, and marks them.
     *
     * If no key is left, the effect is not run. After an exception no key of this call is marked, except those before
     * the index of a BatchException if the store cannot roll back the effect.
     *
     * @param non-empty-array<string, string|null> $keys each key with the record it came with
     *     (`topic-partition-offset`; null: not from a record). 1 to 190 printable ASCII bytes, as Key makes them; in the
     *     order of the messages
     * @param Closure(list<string>): void $effect receives the unmarked keys, in the same order
     *
     * @return int number of keys that the effect was run for; 0: it was not run
     *
     * @throws InProgressException another worker is handling a key; the keys before it are done
     * @throws StoreException the store does not respond; the effect was not run
     * @throws BatchException thrown by the effect; its index refers to the list passed to the effect
     */
    public function run(array $keys, Closure $effect): int;
}
