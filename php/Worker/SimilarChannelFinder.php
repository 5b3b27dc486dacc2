<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Message;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Support\Pattern;

/**
 * Finds channels with messages that differ from a subscribed channel only by a `private-` or `presence-` prefix. Checks
 * topic names (one topic per channel) and the newest records of the worker's own topics (grouped).
 */
final class SimilarChannelFinder
{
    private const PREFIXES = ['private-', 'presence-'];
    /** Newest records to read per partition, and topics to read. */
    private const RECORDS = 100;
    private const TOPICS = 5;

    /**
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
