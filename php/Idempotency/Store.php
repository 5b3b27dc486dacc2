<?php

/**
 * Where it is kept which messages were handled.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Toporia\Realtime\Exception\BatchException;

/**
 * One method, because the mark and the effect belong together: a database puts both into one transaction.
 *
 * A store of your own where there are no transactions extends ClaimingStore instead.
 */
interface Store
{
    /**
     * Runs the effect for the keys that are not marked yet, and marks them.
     *
     * Where none is left, the effect is not run. After an exception of the effect no key of this call is marked, but
     * those before the index of a BatchException where the store cannot take the effect back.
     *
     * @param non-empty-array<string, string|null> $keys each key with the record it came with
     *     (`topic-partition-offset`; null: not from a record). 1 to 190 printable ASCII bytes, as Key makes them; in the
     *     order of the messages
     * @param Closure(list<string>): void $effect gets the keys that are not marked, in the same order
     *
     * @return int how many keys the effect was run for; 0: it was not run
     *
     * @throws InProgressException another worker holds that key; those before it are done
     * @throws StoreException the store does not answer; the effect was not run
     * @throws BatchException thrown by the effect: its index counts in the list that the effect was given
     */
    public function run(array $keys, Closure $effect): int;
}
