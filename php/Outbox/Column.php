<?php

/**
 * Record keys and headers as ASCII text, so that no connection's character set can change them on their way.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use JsonException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;

/**
 * JSON, non-ASCII escaped: a string as a string, bytes that are no UTF-8 as {"base64":"…"}.
 */
final class Column
{
    /** Names the extension refuses as well: said here, where the application can still do something about it. */
    private const RESERVED = '/\A(x-original-|x-exception-|x-(attempts|failed-at|replays|replay-group)\z|'
        . 'x-realtime-(?!socket\z|public\z))/';

    /**
     * One string.
     */
    public static function string(string $value): string
    {
        return json_encode(self::pack($value), JSON_THROW_ON_ERROR);
    }

    /**
     * Record headers; null where there are none.
     *
     * @param array<string, string> $headers
     *
     * @throws EncodingException a value that is no string
     * @throws ConfigurationException a name that the extension keeps for itself
     */
    public static function headers(array $headers): ?string
    {
        if ($headers === []) {
            return null;
        }
        $pairs = [];
        foreach ($headers as $name => $value) {
            if (!is_scalar($value)) {
                throw new EncodingException(
                    "The header '$name' is " . get_debug_type($value) . '; the value of a record header is a string.'
                );
            }
            if ($name === '' || preg_match(self::RESERVED, (string) $name) === 1) {
                throw new ConfigurationException(
                    "The header \"$name\" cannot be set: names must not be empty, and those of the extension are its own."
                );
            }
            // A list of pairs: as the keys of an object, digits would come back as numbers.
            $pairs[] = [self::pack((string) $name), self::pack((string) $value)];
        }

        return json_encode($pairs, JSON_THROW_ON_ERROR);
    }

    /**
     * What string() made.
     *
     * @throws EncodingException somebody has changed the row by hand
     */
    public static function readString(string $column): string
    {
        return self::unpack(self::decode($column));
    }

    /**
     * What headers() made.
     *
     * @return array<string, string>
     *
     * @throws EncodingException somebody has changed the row by hand
     */
    public static function readHeaders(?string $column): array
    {
        $headers = [];
        foreach ((array) self::decode($column ?? '[]') as $pair) {
            if (!is_array($pair) || !array_is_list($pair) || count($pair) !== 2) {
                throw self::unreadable();
            }
            $headers[self::unpack($pair[0])] = self::unpack($pair[1]);
        }

        return $headers;
    }

    /** @return string|array{base64: string} */
    private static function pack(string $value): string|array
    {
        return preg_match('//u', $value) === 1 ? $value : ['base64' => base64_encode($value)];
    }

    private static function unpack(mixed $value): string
    {
        if (is_array($value)) {
            $value = is_string($value['base64'] ?? null) ? base64_decode($value['base64'], true) : null;
        }

        return is_string($value) ? $value : throw self::unreadable();
    }

    private static function decode(string $column): mixed
    {
        try {
            return json_decode($column, true, 8, JSON_THROW_ON_ERROR);
        } catch (JsonException $e) {
            throw self::unreadable($e);
        }
    }

    private static function unreadable(?JsonException $why = null): EncodingException
    {
        return new EncodingException(
            'The record key or the headers of this row were not written by Outbox::add().',
            0,
            $why
        );
    }
}
