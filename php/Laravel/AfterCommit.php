<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Illuminate\Database\DatabaseTransactionsManager;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

/**
 * Broadcasts that are deferred until the open database transaction commits. Discarded if the transaction is rolled
 * back.
 */
final class AfterCommit
{
    public function __construct(private ?DatabaseTransactionsManager $transactions)
    {
    }

    /**
     * Like Realtime::broadcast(), after the commit. The data is encoded now.
     *
     * @param string|array<int, string> $channel
     * @param array<string, scalar|list<scalar|null>|null> $headers
     *
     * @throws RealtimeException an invalid channel or data: rejected now, not after the commit
     */
    public function broadcast(
        string|array $channel,
        string $event,
        mixed $data = null,
        ?string $key = null,
        array $headers = [],
        ?string $except = null
    ): void {
        if ($channel === []) {
            throw new InvalidChannelException('The list of channels is empty: no client would receive this event.');
        }
        foreach ((array) $channel as $name) {
            $message = Message::event($name, $event, $data);
        }
        $data = json_decode($message->toJson(), false, 600)->data ?? null;
        $send = static fn (): string => Realtime::broadcast($channel, $event, $data, $key, $headers, $except);
        $this->transactions === null ? $send() : $this->transactions->addCallback($send);
    }
}
