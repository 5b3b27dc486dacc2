<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Support\ReturnValue;

/**
 * Makes a callback handle each message once, although Kafka may deliver it more than once. Wraps a callback; the store
 * remembers the handled messages.
 *
 *     $idempotency = new Idempotency(new PdoStore($pdo), 'orders');
 *     $broker->subscribe('order.*', $idempotency->wrap(fn (Message $message) => …));
 *     $broker->subscribeBatch('stock.*', $idempotency->wrap(fn (array $messages) => …));
 *
 *     // config/realtime.php, around every handler of the command:
 *     'middleware' => [Idempotency::class],
 *     'bindings' => [Idempotency::class => fn ($c) => new Idempotency(new PdoStore($c->get(PDO::class)), 'orders')],
 *
 * A callback that throws leaves no mark, so the retry runs it again. The guarantee depends on the store: with PdoStore,
 * writes to the same database happen exactly once; with other stores, a crash between the effect and its mark repeats
 * the effect.
 */
final class Idempotency
{
    /** @var array<string, true> keys being handled in this process, by store class and key */
    private static array $running = [];

    private ?Closure $key;
    private int $skipped = 0;

    /**
     * @param string $scope identifies the consumer: 1 to 64 of A-Z a-z 0-9 . _ -, such as the consumer group. Two
     *        consumers that each handle the same messages need different scopes, or one takes messages from the other
     * @param (callable(Message): (string|int))|null $key returns what identifies equal messages, such as a payment
     *        number; null: the message id, which is the same for every delivery
     *
     * @throws ConfigurationException invalid scope
     */
    public function __construct(private Store $store, private string $scope, ?callable $key = null)
    {
        Key::checkScope($scope);
        $this->key = $key === null ? null : Closure::fromCallable($key);
    }

    /**
     * The callback for subscribe(), subscribeTopic() or subscribeBatch().
     *
     * In a batch, handled messages are left out, and the callback is not called if none are left. The index of a
     * BatchException refers to the list passed to the callback; it is translated to the broker's list.
     *
     * @param callable(Message): void|callable(list<Message>): void $callback
     *
     * @return Closure(Message|list<Message>): void throws the exceptions of the callback and of Store::run()
     */
    public function wrap(callable $callback): Closure
    {
        return function (Message|array $received) use ($callback): void {
            if ($received instanceof Message) {
                $this->handle($received, $callback);
            } else {
                $this->handleBatch($received, $callback);
            }
        };
    }

    /**
     * Middleware for the command, in `realtime.middleware`.
     *
     * @param callable(Message): mixed $next
     *
     * @throws Throwable exceptions of $next and of Store::run()
     */
    public function handle(Message $message, callable $next): void
    {
        $this->once($message, static fn () => $next($message));
    }

    /**
     * Runs an effect once per message, or per custom key.
     *
     * Inside an open transaction of the store's connection, PdoStore's mark is part of that transaction.
     *
     *     $pdo->beginTransaction();
     *     $idempotency->once('invoice-7', fn () => $invoices->send(7));
     *     $pdo->commit();
     *
     * @param Message|string $key any non-empty bytes
     * @param callable(): mixed $effect
     *
     * @return bool false: it was done before and was not run
     *
     * @throws InProgressException another worker is handling the key, and did not finish while the store waited
     * @throws StoreException the store does not respond
     * @throws PermanentException the key is empty
     */
    public function once(Message|string $key, callable $effect): bool
    {
        $record = $key instanceof Message ? self::record($key) : null;
        $name = $key instanceof Message ? $this->keyOf($key) : $this->makeKey($key, 'The key');
        $ran = $this->guardReentry([$name], fn (): int => $this->store->run([$name => $record], static function () use ($effect): void {
            ReturnValue::complete($effect());
        }));
        $this->skipped += $ran > 0 ? 0 : 1;

        return $ran > 0;
    }

    /** Number of messages skipped because they were handled before. */
    public function skipped(): int
    {
        return $this->skipped;
    }

    /** @param array<int, Message> $messages */
    private function handleBatch(array $messages, callable $callback): void
    {
        $batch = new Batch(array_values($messages), $this->keyOf(...), self::record(...));
        $callback = static fn (array $fresh): mixed => ReturnValue::complete($callback($fresh));
        $this->skipped += $this->guardReentry($batch->keys(), fn (): int => $batch->run($this->store, $callback));
    }

    /**
     * Rejects a nested call for the same key: a callback wrapped twice would find its own outer mark and never run.
     *
     * @param list<string> $keys
     * @param Closure(): int $work
     */
    private function guardReentry(array $keys, Closure $work): int
    {
        $held = [];
        try {
            foreach ($keys as $key) {
                $name = $this->store::class . "\0$key";
                if (isset(self::$running[$name])) {
                    throw new ConfigurationException(
                        "'$key' is already being handled in this call: is the callback wrapped twice, in code and "
                        . 'as middleware? Wrap it once, or give the two different scopes.'
                    );
                }
                self::$running[$name] = $held[$name] = true;
            }

            return $work();
        } finally {
            self::$running = array_diff_key(self::$running, $held);
        }
    }

    private function keyOf(Message $message): string
    {
        $key = $this->key === null ? $message->getId() : ($this->key)($message);
        if (!is_string($key) && !is_int($key)) {
            $key = '';
        }

        return $this->makeKey((string) $key, "The key of message {$message->getId()}");
    }

    private function makeKey(string $key, string $what): string
    {
        if ($key === '') {
            throw new PermanentException(
                "$what for idempotency in the scope '$this->scope' is not a non-empty string, so it cannot be "
                    . "distinguished from another message."
            );
        }

        return Key::make($this->scope, $key);
    }

    private static function record(Message $message): ?string
    {
        $topic = $message->getTopic();

        return $topic === null ? null : "$topic-{$message->getPartition()}-{$message->getOffset()}";
    }
}
