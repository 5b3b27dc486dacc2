<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Toporia\Realtime\Exception\InvalidChannelException;

/** Validates channel names when the extension is not loaded. Applies the rules that hold for any topic prefix. */
final class Channel
{
    /**
     * A Kafka topic has at most 249 bytes; this leaves four for `dlq.`, and two for the shortest prefix and its
     * underscore.
     */
    public const MAX_BYTES = 243;

    /**
     * Validates a channel to publish to.
     *
     * @throws InvalidChannelException empty, unprintable, not UTF-8, a pattern, or too long
     */
    public static function check(string $channel): void
    {
        self::checkPattern($channel);
        if (Pattern::isPattern($channel)) {
            throw new InvalidChannelException(
                "The channel '$channel' has a '*': patterns can only be used to subscribe; "
                . 'a message is sent to one channel.'
            );
        }
    }

    /**
     * Validates a channel or pattern to subscribe to.
     *
     * @throws InvalidChannelException empty, unprintable, not UTF-8, or too long
     */
    public static function checkPattern(string $channel): void
    {
        if ($channel === '') {
            throw new InvalidChannelException("A channel name cannot be empty: use a name such as 'user.1'.");
        }
        if (preg_match('/\A[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+\z/u', $channel) !== 1) {
            throw new InvalidChannelException(
                'The channel name ' . json_encode($channel, JSON_INVALID_UTF8_SUBSTITUTE)
                . ' has characters that cannot be printed. Remove them.'
            );
        }
        if (strlen($channel) > self::MAX_BYTES) {
            throw new InvalidChannelException(
                "The channel name '" . substr($channel, 0, 40) . "…' has " . strlen($channel)
                . ' bytes; at most ' . self::MAX_BYTES . ' fit into a Kafka topic name.'
            );
        }
    }

    /**
     * Validates the name of a Kafka topic.
     *
     * @throws InvalidChannelException a name that Kafka does not allow
     */
    public static function checkTopic(string $topic): void
    {
        if (preg_match('/\A(?!\.{1,2}\z)[A-Za-z0-9._-]{1,249}\z/', $topic) !== 1) {
            throw new InvalidChannelException(
                'Kafka does not allow ' . Envelope::excerpt($topic) . ' as a topic name: 1 to 249 letters, digits, '
                . "'.', '_' and '-', but not '.' or '..'."
            );
        }
    }
}
