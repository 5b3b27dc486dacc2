<?php

/**
 * Encodes record keys and headers as ASCII text, so that no connection charset can change them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use JsonException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;

/**
 * JSON with escaped non-ASCII: text as a string, other bytes as {"base64":"…"}.
 */
final class Column
{
    /** Header names that the extension rejects too; rejected here while the application can still react. */
    private const RESERVED = '/\A(x-original-|x-exception-|x-(attempts|failed-at|replays|replay-group)\z|'
        . 'x-realtime-(?!socket\z|public\z))/';

    /**
     * Encodes a string.
     */
    public static function string(string $value): string
    {
        return json_encode(self::pack($value), JSON_THROW_ON_ERROR);
    }

    /**
     * Encodes record headers; null if there are none.
     *
     * @param array<string, string> $headers
     *
     * @throws EncodingException a value is not a string
     * @throws ConfigurationException a reserved header name
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
                    "The header \"$name\" cannot be set: names must not be empty, and those of the extension are "
                        . "its own."
                );
            }
            // A list of pairs: as keys of an object, numeric names would be decoded as integers.
            $pairs[] = [self::pack((string) $name), self::pack((string) $value)];
        }

        return json_encode($pairs, JSON_THROW_ON_ERROR);
    }

    /**
     * Decodes a string encoded by string().
     *
     * @throws EncodingException the row was modified manually
     */
    public static function readString(string $column): string
    {
        return self::unpack(self::decode($column));
    }

    /**
     * Decodes headers encoded by headers().
     *
     * @return array<string, string>
     *
     * @throws EncodingException the row was modified manually
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
