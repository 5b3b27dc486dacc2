<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use BadMethodCallException;
use Illuminate\Contracts\Foundation\Application;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Testing\RealtimeFake;

/**
 * The root object of the Realtime facade; inject it from the container where no facade is wanted. Wraps the native
 * Realtime class, and adds afterCommit() and the assertions of the fake.
 */
final class Manager
{
    private ?RealtimeFake $fake = null;

    public function __construct(private Application $app)
    {
    }

    /**
     * Sends an event to a channel; see Toporia\Realtime\Realtime::broadcast().
     *
     * @param string|array<int, string> $channel
     * @param array<string, scalar|list<scalar|null>|null> $headers
     */
    public function broadcast(
        string|array $channel,
        string $event,
        mixed $data = null,
        ?string $key = null,
        array $headers = [],
        ?string $except = null
    ): string {
        return Realtime::broadcast($channel, $event, $data, $key, $headers, $except);
    }

    /**
     * Defers a broadcast until the open database transactions are committed: a rolled-back order is not announced.
     *
     *     DB::transaction(function () use ($order) {
     *         $order->save();
     *         Realtime::afterCommit()->broadcast('user.1', 'order.created', $order);
     *     });
     *
     * Without a transaction it is sent immediately. If the process crashes between commit and broadcast, nothing is sent:
     * use the transactional outbox where that is not acceptable.
     */
    public function afterCommit(): AfterCommit
    {
        return new AfterCommit($this->app->bound('db.transactions') ? $this->app->make('db.transactions') : null);
    }

    /** Returns the named broker; null: the default broker. */
    public function broker(?string $name = null): Broker
    {
        return Realtime::broker($name);
    }

    /** Waits until Kafka has acknowledged everything that this process sent. */
    public function flush(int $timeoutMs = 10000): void
    {
        Realtime::flush($timeoutMs);
    }

    /** @return array<string, mixed> */
    public function stats(): array
    {
        return Realtime::stats();
    }

    /** Records broadcasts instead of sending them, for this facade, the helpers and the broadcast driver. */
    public function fake(?Publisher $fake = null): RealtimeFake
    {
        return $this->fake = Realtime::fake($fake);
    }

    /** Stops faking. */
    public function restore(): void
    {
        $this->fake = null;
        Realtime::restore();
    }

    /**
     * Forwards assertions to the fake: Realtime::assertBroadcast('user.1', 'order.paid').
     *
     * @param array<int|string, mixed> $arguments
     */
    public function __call(string $method, array $arguments): mixed
    {
        if (!method_exists(RealtimeFake::class, $method)) {
            throw new BadMethodCallException("Realtime has no method $method().");
        }
        if ($this->fake === null) {
            throw new BadMethodCallException("Realtime::$method() is for tests: call Realtime::fake() first.");
        }

        return $this->fake->$method(...$arguments);
    }
}
