<?php

/**
 * The record headers of dead letters and of replays.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

/**
 * A replay keeps the record's own headers and adds three: `x-original-*`, so that another failure still refers to the
 * first one; `x-replay-group`, so that only the group that failed handles it; `x-replays`, the number of replays.
 */
final class Headers
{
    public const ORIGINAL_TOPIC = 'x-original-topic';
    public const ORIGINAL_PARTITION = 'x-original-partition';
    public const ORIGINAL_OFFSET = 'x-original-offset';
    public const ORIGINAL_TIMESTAMP = 'x-original-timestamp';
    public const ORIGINAL_GROUP = 'x-original-group';
    /** Size in bytes of a value that was too large for the dead letter; only present if the letter has no value. */
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
     * Reset by a replay: a record that had reached the hop limit would fail again on the first message its callback
     * sends.
     */
    private const HOPS = 'x-realtime-hops';

    /**
     * The headers to replay a letter with.
     *
     * @param Record|null $original the failed record, if the letter only holds its coordinates
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
     * True for headers of this package that describe the failure or the route, rather than the record's own.
     */
    public static function isOurs(string $name): bool
    {
        return str_starts_with($name, 'x-original-') || str_starts_with($name, 'x-exception-')
            || in_array($name, [self::ATTEMPTS, self::FAILED_AT, self::REPLAYS, self::REPLAY_GROUP, self::HOPS], true);
    }
}
