<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use JsonException;
use Toporia\Realtime\Dlq\Headers;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;

/**
 * Encodes record keys and headers as ASCII text, so that no connection charset can change them. JSON with escaped
 * non-ASCII: text as a string, other bytes as {"base64":"…"}.
 */
final class Column
{
    /** Encodes a string. */
    public static function string(string $value): string
    {
        return json_encode(self::pack($value), JSON_THROW_ON_ERROR);
    }

    /**
     * Encodes record headers; null if there are none. Those of the extension are dropped, as they may have come along
     * with the headers of a received message.
     *
     * @param array<string, string|null|list<string|null>> $headers a list for a name that occurs several times
     *
     * @throws EncodingException a value is neither text nor null
     * @throws ConfigurationException a header name that is empty or not UTF-8
     */
    public static function headers(array $headers): ?string
    {
        $pairs = [];
        foreach ($headers as $name => $values) {
            if ($name === '' || preg_match('//u', (string) $name) !== 1) {
                throw new ConfigurationException('A header must have a name of valid UTF-8.');
            }
            if (Headers::isOurs((string) $name)) {
                continue;
            }
            foreach (is_array($values) ? $values : [$values] as $value) {
                if ($value !== null && !is_scalar($value)) {
                    throw new EncodingException(
                        "The header '$name' is " . get_debug_type($value) . '; the value of a record header is a string.'
                    );
                }
                // A list of pairs: as keys of an object, numeric names would be decoded as integers.
                $pairs[] = [self::pack((string) $name), $value === null ? null : self::pack((string) $value)];
            }
        }

        return $pairs === [] ? null : json_encode($pairs, JSON_THROW_ON_ERROR);
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
     * @return array<string, string|null|list<string|null>>
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
            $headers[self::unpack($pair[0])][] = $pair[1] === null ? null : self::unpack($pair[1]);
        }

        return Headers::single($headers);
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
