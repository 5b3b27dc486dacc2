<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * Warns a worker that receives nothing on `user.1` while `private-user.1` has traffic. Laravel's
 * PrivateChannel('user.1') is the channel `private-user.1` in Kafka, which is easily overlooked.
 */
final class SimilarChannelWarning
{
    /** Seconds without a message before the first check, and between two checks. */
    private const FIRST_CHECK_SECONDS = 10.0;
    private const CHECK_INTERVAL_SECONDS = 60.0;

    /** @var list<string> subscribed channels that a prefix could be missing from */
    private array $plain;
    private float $next;

    /**
     * @param list<string> $channels the subscribed channels
     * @param Closure(list<string>): array<string, string> $find returns similar channels with traffic: subscribed
     *        channel by similar channel
     * @param float|null $firstCheckSeconds seconds until the first check
     */
    public function __construct(
        private array $channels,
        private Closure $find,
        private Reporter $reporter,
        ?float $firstCheckSeconds = null
    ) {
        $this->plain = array_values(array_filter(
            $channels,
            static fn (string $channel): bool => preg_match('/\A(private-|presence-|\*|#)/', $channel) !== 1
        ));
        $this->next = $firstCheckSeconds ?? self::FIRST_CHECK_SECONDS;
    }

    public function check(Snapshot $now): void
    {
        if ($this->plain === [] || $now->seconds < $this->next) {
            return;
        }
        $this->next = $now->seconds + self::CHECK_INTERVAL_SECONDS;
        if ($now->handled > 0 || !$now->connected) {
            return;
        }
        try {
            $found = ($this->find)($this->plain);
        } catch (RealtimeException) {
            // This is only a hint, and the user may lack the permission: never a reason to stop the worker.
            return;
        }
        foreach ($found as $similar => $channel) {
            if (!in_array($similar, $this->channels, true)) {
                $this->reporter->event(
                    'similar_channel',
                    "$channel receives nothing, but " . Text::printable($similar) . " has messages: Laravel's "
                    . 'PrivateChannel and PresenceChannel add a prefix to the name. Did you mean '
                    . '--channels=' . preg_replace('/-.*/s', '-', $similar) . "$channel?",
                    ['channel' => $channel, 'similar_channel' => $similar]
                );
            }
        }
        if ($found !== []) {
            $this->plain = [];
        }
    }
}
