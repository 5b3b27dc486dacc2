<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Toporia\Realtime\Dlq\Headers;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use TypeError;

/**
 * Checks arguments as the extension does, so that a test that passes without it, or with a fake, does not fail with it.
 */
final class Arguments
{
    /**
     * A channel, or a list of them; numbers count as their text.
     *
     * @param string|array<int, mixed> $channel
     *
     * @return list<string>
     *
     * @throws InvalidChannelException an invalid name, or an empty list
     */
    public static function channels(string|array $channel): array
    {
        $names = [];
        foreach (is_array($channel) ? $channel : [$channel] as $entry => $name) {
            $names[] = self::text($name, "Realtime::broadcast(): entry $entry of \$channel");
        }
        if ($names === []) {
            throw new InvalidChannelException('The list of channels is empty: no client would receive this event.');
        }
        array_map(Channel::check(...), $names);

        return $names;
    }

    /** @throws EncodingException an event name that is not UTF-8 */
    public static function event(string $event): void
    {
        if (preg_match('//u', $event) !== 1) {
            throw new EncodingException('The event name ' . Envelope::excerpt($event) . ' is not valid UTF-8.');
        }
    }

    /** @throws ConfigurationException not a socket id of Pusher's protocol */
    public static function socketId(string $socket): void
    {
        if (preg_match('/\A\d+\.\d+\z/', $socket) !== 1) {
            throw new ConfigurationException(
                Envelope::excerpt($socket) . ' is not a socket id: it must be two numbers separated by a dot, as '
                . 'Echo.socketId() returns it.'
            );
        }
    }

    /**
     * The values of each record header. Headers that the extension sets itself are left out.
     *
     * @param array<mixed> $headers
     *
     * @return array<string, list<string|null>>
     *
     * @throws ConfigurationException a name that is empty or not UTF-8
     */
    public static function headers(array $headers): array
    {
        $all = [];
        foreach ($headers as $name => $values) {
            $name = (string) $name;
            if ($name === '' || preg_match('//u', $name) !== 1) {
                throw new ConfigurationException(
                    Envelope::excerpt($name) . ' is not a header name. It must be UTF-8 text and not empty.'
                );
            }
            if (Headers::isOurs($name)) {
                continue;
            }
            foreach (is_array($values) ? $values : [$values] as $value) {
                $all[$name][] = $value === null ? null : self::text($value, "header \"$name\"");
            }
        }

        return $all;
    }

    /** @throws ConfigurationException a number below the minimum */
    public static function atLeast(int $minimum, int $value, string $place): void
    {
        if ($value < $minimum) {
            throw new ConfigurationException("$place must be $minimum or more, $value given.");
        }
    }

    private static function text(mixed $value, string $place): string
    {
        if (is_scalar($value) || $value instanceof \Stringable) {
            return (string) $value;
        }

        throw new TypeError("$place must be of type string, " . get_debug_type($value) . ' given');
    }
}
