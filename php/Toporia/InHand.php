<?php

/**
 * The message that a callback is handling now, so that the same message broadcast again is not published again.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Toporia\Realtime\Message;

/**
 * The guides broadcast what they consumed once more, for the browsers of their own server; through Kafka that would
 * feed the consumer with its own messages for ever. `Realtime::broadcast()` is guarded by the extension, the
 * framework's manager, which publishes through its broker, by this.
 */
final class InHand
{
    /** @var list<Message> callbacks can nest, where one consumes from a second broker */
    private static array $messages = [];

    /**
     * Calls the callback with the message in hand.
     *
     * @param callable(Message): mixed $callback
     */
    public static function during(Message $message, callable $callback): mixed
    {
        self::$messages[] = $message;
        try {
            return $callback($message);
        } finally {
            array_pop(self::$messages);
        }
    }

    /**
     * Whether that is what the message in hand says: same channel, event and data.
     */
    public static function repeats(string $channel, ?string $event, mixed $data): bool
    {
        $message = self::$messages[count(self::$messages) - 1] ?? null;

        return $message !== null
            && $message->getChannel() === $channel
            && $message->getEvent() === $event
            && self::sorted($message->getData()) === self::sorted(json_decode((string) json_encode($data), true));
    }

    /** Keys in one order, because the order of an object's members says nothing. */
    private static function sorted(mixed $data): mixed
    {
        if (is_array($data)) {
            if (!array_is_list($data)) {
                ksort($data);
            }
            $data = array_map(self::sorted(...), $data);
        }

        return $data;
    }
}
