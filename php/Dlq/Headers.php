<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Message;

/**
 * The record headers of dead letters and of replays. A replay keeps the record's own headers and adds three:
 * `x-original-*`, so that another failure still refers to the first one; `x-replay-group`, so that only the group that
 * failed handles it; `x-replays`, the number of replays.
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
    /** The exception and its previous ones with message, file and line; see Letter::exceptionChain(). */
    public const EXCEPTION_CHAIN = 'x-exception-chain';
    public const ATTEMPTS = 'x-attempts';
    public const FAILED_AT = 'x-failed-at';
    public const REPLAYS = 'x-replays';
    public const REPLAY_GROUP = 'x-replay-group';

    private const FIRST_FAILURE = [
        self::ORIGINAL_TOPIC, self::ORIGINAL_PARTITION, self::ORIGINAL_OFFSET, self::ORIGINAL_TIMESTAMP,
        self::ORIGINAL_GROUP,
    ];

    /** The `x-realtime-*` headers that belong to the message and are passed on. */
    private const PASSED_ON = ['x-realtime-socket', 'x-realtime-public'];

    /**
     * All headers of a message in the format of Broker::send(): a list of values if a name occurs more than once.
     *
     * @return array<string, string|null|list<string|null>>
     */
    public static function of(Message $message): array
    {
        $names = array_map('strval', array_keys($message->getHeaders()));

        return self::single(array_combine($names, array_map($message->getHeaderValues(...), $names)));
    }

    /**
     * The same of the values of each name.
     *
     * @param array<string, list<string|null>> $headers
     *
     * @return array<string, string|null|list<string|null>>
     */
    public static function single(array $headers): array
    {
        return array_map(static fn (array $values): mixed => count($values) === 1 ? $values[0] : $values, $headers);
    }

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
            ($original ?? $letter->record)->headers,
            static fn (int|string $name): bool => !self::isOurs((string) $name),
            ARRAY_FILTER_USE_KEY
        );
        $first = array_intersect_key($letter->record->headers, array_flip(self::FIRST_FAILURE));

        return $own + $first + [self::REPLAY_GROUP => $group, self::REPLAYS => (string) ($letter->replays + 1)];
    }

    /**
     * True for headers that the extension sets itself: of the failure, the replay and the route. They are dropped from
     * the headers of a received message that are passed on; the hop count starts again with a replay, because a record
     * that had reached the limit would fail again on the first message its callback sends.
     */
    public static function isOurs(string $name): bool
    {
        return str_starts_with($name, 'x-original-') || str_starts_with($name, 'x-exception-')
            || in_array($name, [self::ATTEMPTS, self::FAILED_AT, self::REPLAYS, self::REPLAY_GROUP], true)
            || str_starts_with($name, 'x-realtime-') && !in_array($name, self::PASSED_ON, true);
    }
}
