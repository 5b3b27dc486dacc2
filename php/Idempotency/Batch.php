<?php

/**
 * One list of messages on its way through a store: which are new, and which of them failed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Message;

/**
 * Translates between three counts: the broker's list, the keys in it (a key may be in it twice), and what is left of
 * them for the callback.
 *
 * @internal Idempotency::wrap() is the way in
 */
final class Batch
{
    /** @var array<string, string|null> keys, each once, with their records */
    private array $keys = [];
    /** @var array<string, int> where each key stands first in the broker's list */
    private array $positions = [];
    /** @var list<string> the keys that the callback was last given */
    private array $fresh = [];
    /** @var int how many messages of the list have a key, from the first on */
    private int $keyed = 0;
    /** Why the next one has none. */
    private ?Throwable $keyError = null;

    /**
     * @param list<Message> $messages
     * @param Closure(Message): string $key
     * @param Closure(Message): (string|null) $record
     */
    public function __construct(private array $messages, Closure $key, Closure $record)
    {
        foreach ($messages as $position => $message) {
            try {
                $name = $key($message);
            } catch (Throwable $e) {
                $this->keyError = $e;
                break;
            }
            $this->keyed++;
            if (!isset($this->positions[$name])) {
                $this->positions[$name] = $position;
                $this->keys[$name] = $record($message);
            }
        }
    }

    /** @return list<string> */
    public function keys(): array
    {
        return array_keys($this->keys);
    }

    /**
     * Has the callback handle what the store does not know yet.
     *
     * @param Closure(list<Message>): mixed $callback
     *
     * @return int how many messages were left out
     *
     * @throws Throwable BatchException with the index in the broker's list; what failed at its first message as it is
     */
    public function run(Store $store, Closure $callback): int
    {
        try {
            $ran = $this->keys === [] ? 0 : $this->runStore($store, $this->keys, $callback);
        } catch (BatchException $e) {
            throw $this->failure($store, $e, $callback);
        } catch (Throwable $e) {
            throw $this->withIndex($e);
        }
        if ($this->keyError !== null) {
            throw $this->keyed === 0 ? $this->keyError : new BatchException($this->keyed, $this->keyError);
        }

        return $this->keyed - $ran;
    }

    /** @param non-empty-array<string, string|null> $keys */
    private function runStore(Store $store, array $keys, Closure $callback): int
    {
        $this->fresh = [];

        return $store->run($keys, function (array $fresh) use ($callback): void {
            $this->fresh = $fresh;
            $callback(array_map(fn (string $key): Message => $this->messages[$this->positions[$key]], $fresh));
        });
    }

    /**
     * Makes true what a BatchException says: that those before the failed one are done. A store with transactions has
     * taken them back with the rest, so they are handled again; one without has marked them, and skips them now.
     */
    private function failure(Store $store, BatchException $why, Closure $callback): Throwable
    {
        $given = $this->fresh;
        $failed = $why->getIndex() < count($given) ? max(0, $why->getIndex()) : 0;
        if ($failed > 0) {
            $before = array_flip(array_slice($given, 0, $failed));
            try {
                $this->runStore($store, array_intersect_key($this->keys, $before), $callback);
            } catch (BatchException $e) {
                return $this->failure($store, $e, $callback);
            } catch (Throwable $e) {
                return $this->withIndex($e);
            }
        }

        return new BatchException($this->positions[$given[$failed] ?? ''] ?? 0, $why->getPrevious() ?? $why);
    }

    /**
     * The failure with its place in the broker's list: the key in the way, else the first the callback was given.
     */
    private function withIndex(Throwable $why): Throwable
    {
        $key = $why instanceof InProgressException ? $why->getKey() : $this->fresh[0] ?? '';
        $position = $this->positions[$key] ?? 0;

        return $position === 0 ? $why : new BatchException($position, $why);
    }
}
