<?php

/**
 * The record headers of dead letters, and those a replay is sent with.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

/**
 * A replay is the record as it was, with three things beside it: `x-original-*`, so that another failure still tells
 * where the first one was; `x-replay-group`, so that only the group that failed takes it; `x-replays`, so that another
 * failure tells how often it has come.
 */
final class Headers
{
    public const ORIGINAL_TOPIC = 'x-original-topic';
    public const ORIGINAL_PARTITION = 'x-original-partition';
    public const ORIGINAL_OFFSET = 'x-original-offset';
    public const ORIGINAL_TIMESTAMP = 'x-original-timestamp';
    public const ORIGINAL_GROUP = 'x-original-group';
    /** Bytes of a value that was too large for the letter; only letters without a value have it. */
    public const ORIGINAL_SIZE = 'x-original-size';
    public const EXCEPTION_CLASS = 'x-exception-class';
    public const EXCEPTION_MESSAGE = 'x-exception-message';
    public const ATTEMPTS = 'x-attempts';
    public const FAILED_AT = 'x-failed-at';
    public const REPLAYS = 'x-replays';
    public const REPLAY_GROUP = 'x-replay-group';

    private const FIRST_FAILURE = [
        self::ORIGINAL_TOPIC, self::ORIGINAL_PARTITION, self::ORIGINAL_OFFSET, self::ORIGINAL_TIMESTAMP,
        self::ORIGINAL_GROUP,
    ];

    /**
     * Counted anew: a record that had reached its last hop would fail again on the first thing its callback sends.
     */
    private const HOPS = 'x-realtime-hops';

    /**
     * What a letter's record is sent again with.
     *
     * @param Record|null $original the record that failed, where the letter itself only holds its coordinates
     *
     * @return array<string, string|null|list<string|null>>
     */
    public static function forReplay(Letter $letter, string $group, ?Record $original = null): array
    {
        $own = array_filter(
            ($original ?? $letter->record)->allHeaders(),
            static fn (int|string $name): bool => !self::isOurs((string) $name),
            ARRAY_FILTER_USE_KEY
        );
        $first = array_intersect_key($letter->record->headers, array_flip(self::FIRST_FAILURE));

        return $own + $first + [self::REPLAY_GROUP => $group, self::REPLAYS => (string) ($letter->replays() + 1)];
    }

    /**
     * True if a header says something about the failure or the way of the record, rather than being its own.
     */
    public static function isOurs(string $name): bool
    {
        return str_starts_with($name, 'x-original-') || str_starts_with($name, 'x-exception-')
            || in_array($name, [self::ATTEMPTS, self::FAILED_AT, self::REPLAYS, self::REPLAY_GROUP, self::HOPS], true);
    }
}
