<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

/**
 * Interprets channel names by Pusher's conventions. `private-…` and `presence-…` require authorization;
 * routes/channels.php authorizes the name without the prefix.
 */
final class ChannelName
{
    /** Longer prefixes first. */
    private const PREFIXES = [
        'private-encrypted-cache-', 'private-encrypted-', 'private-cache-', 'private-', 'presence-cache-', 'presence-',
    ];

    /**
     * True for private and presence channels.
     */
    public static function requiresAuthorization(string $channel): bool
    {
        return str_starts_with($channel, 'private-') || self::isPresence($channel);
    }

    /**
     * True if members of the channel see each other.
     */
    public static function isPresence(string $channel): bool
    {
        return str_starts_with($channel, 'presence-');
    }

    /**
     * True for channels that are public by Laravel's convention: neither private, nor presence, nor internal (`#…`).
     */
    public static function isPublic(string $channel): bool
    {
        return !self::requiresAuthorization($channel) && !str_starts_with($channel, '#');
    }

    /**
     * The name passed to routes/channels.php: one authorization covers every prefix.
     */
    public static function withoutPrefix(string $channel): string
    {
        foreach (self::PREFIXES as $prefix) {
            if (str_starts_with($channel, $prefix)) {
                return substr($channel, strlen($prefix));
            }
        }

        return $channel;
    }
}
