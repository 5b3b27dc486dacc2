<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Support\Pattern;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Message;
use Toporia\Realtime\Admin;
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

    private const PREFIXES = ['private-', 'presence-'];
    /** Newest records to read per partition, and topics to read. */
    private const RECORDS = 100;
    private const TOPICS = 5;

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

    /**
     * Finds channels with messages that differ from a subscribed channel only by a `private-` or `presence-` prefix: by topic
     * names (one topic per channel), and in the newest records of the worker's own topics (grouped).
     *
     * @param list<string> $channels subscribed names and patterns
     * @param list<string> $own topics the worker reads
     *
     * @return array<string, string> subscribed channel by similar channel
     */
    public static function find(Admin $admin, array $channels, array $own): array
    {
        $similar = [];
        foreach (array_slice($own, 0, self::TOPICS) as $topic) {
            $similar += self::inRecords($admin, $topic, $channels);
        }

        return $similar !== [] ? $similar : self::inTopics($admin, $channels, $own);
    }

    /**
     * @param list<string> $channels
     *
     * @return array<string, string>
     */
    private static function inRecords(Admin $admin, string $topic, array $channels): array
    {
        if ($admin->topics($topic) === []) {
            return [];
        }
        $from = array_map(
            static fn (array $partition): int => max($partition['beginning'], $partition['end'] - self::RECORDS),
            $admin->offsets($topic)
        );
        $similar = [];
        $admin->read($topic, static function (Message $message) use ($channels, &$similar): void {
            $name = json_decode((string) $message->getPayload(), true, Text::DEPTH)['channel'] ?? null;
            foreach (is_string($name) ? self::PREFIXES : [] as $prefix) {
                $plain = str_starts_with($name, $prefix) ? substr($name, strlen($prefix)) : null;
                $channel = $plain === null ? null : Pattern::pick($channels, $plain);
                if ($channel !== null) {
                    $similar[$name] = $channel;
                }
            }
        }, $from);

        return $similar;
    }

    /**
     * @param list<string> $channels
     * @param list<string> $own `realtime_user_1`, from which the topic prefix is derived
     *
     * @return array<string, string>
     */
    private static function inTopics(Admin $admin, array $channels, array $own): array
    {
        $similar = [];
        foreach ($channels as $channel) {
            $tail = TopicPlan::channelParts($channel)[0];
            foreach ($own as $topic) {
                $prefix = str_ends_with($topic, "_$tail") ? substr($topic, 0, -strlen($tail)) : null;
                foreach ($prefix === null ? [] : self::PREFIXES as $kind) {
                    if (self::hasRecords($admin, $prefix . $kind . $tail)) {
                        $similar[$kind . $channel] = $channel;
                    }
                }
            }
        }

        return $similar;
    }

    private static function hasRecords(Admin $admin, string $topic): bool
    {
        if ($admin->topics($topic) === []) {
            return false;
        }
        foreach ($admin->offsets($topic) as ['beginning' => $beginning, 'end' => $end]) {
            if ($end > $beginning) {
                return true;
            }
        }

        return false;
    }
}
