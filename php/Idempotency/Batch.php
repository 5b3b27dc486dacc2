<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Message;

/**
 * Handles a batch of messages through a store: skips handled messages and maps failures to their index. Translates
 * between three lists: the broker's messages, their keys (a key may occur twice), and the messages that are left for
 * the callback.
 *
 * @internal use Idempotency::wrap()
 */
final class Batch
{
    /** @var array<string, string|null> unique keys with their records */
    private array $keys = [];
    /** @var array<string, int> first index of each key in the broker's list */
    private array $positions = [];
    /** @var list<string> keys last passed to the callback */
    private array $fresh = [];
    /** @var int number of leading messages with a key */
    private int $keyed = 0;
    /** Why the next message has no key. */
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
     * Passes the messages that are not handled yet to the callback.
     *
     * @param Closure(list<Message>): mixed $callback
     *
     * @return int number of skipped messages
     *
     * @throws Throwable BatchException with the index in the broker's list; a failure of the first message as it is
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
     * Ensures that the messages before the failed one are done, as a BatchException states. A store with transactions
     * has rolled them back with the rest, so they are handled again; other stores have marked them and skip them now.
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

    /** The failure with its index in the broker's list: the busy key, else the first message passed to the callback. */
    private function withIndex(Throwable $why): Throwable
    {
        $key = $why instanceof InProgressException ? $why->getKey() : $this->fresh[0] ?? '';
        $position = $this->positions[$key] ?? 0;

        return $position === 0 ? $why : new BatchException($position, $why);
    }
}
