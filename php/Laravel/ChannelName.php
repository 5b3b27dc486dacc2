<?php

/**
 * What a channel's name says about who may listen to it, by Pusher's conventions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

/**
 * `private-…` and `presence-…` are guarded; what routes/channels.php decides about is the name behind the prefix.
 */
final class ChannelName
{
    /** The longer ones first. */
    private const PREFIXES = [
        'private-encrypted-cache-', 'private-encrypted-', 'private-cache-', 'private-', 'presence-cache-', 'presence-',
    ];

    /**
     * True if a browser needs permission for it.
     */
    public static function requiresAuthorization(string $channel): bool
    {
        return str_starts_with($channel, 'private-') || self::isPresence($channel);
    }

    /**
     * True if its listeners see each other.
     */
    public static function isPresence(string $channel): bool
    {
        return str_starts_with($channel, 'presence-');
    }

    /**
     * True if it is public by Laravel's convention: neither guarded nor one of the protocol's own.
     */
    public static function isPublic(string $channel): bool
    {
        return !self::requiresAuthorization($channel) && !str_starts_with($channel, '#');
    }

    /**
     * The name that permission is asked for: one permission covers every prefix.
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
