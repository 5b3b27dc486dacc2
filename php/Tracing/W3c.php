<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tracing;

/** Validates W3C Trace Context and Baggage headers. */
final class W3c
{
    public const TRACE_PARENT = 'traceparent';
    public const TRACE_STATE = 'tracestate';
    public const BAGGAGE = 'baggage';
    /** The headers of a trace context, in order. */
    public const HEADERS = [self::TRACE_PARENT, self::TRACE_STATE, self::BAGGAGE];

    /** Maximum length of a header value, in bytes. */
    private const MAX_LENGTH = 8192;
    private const MAX_STATES = 32;
    private const MAX_BAGGAGE = 180;
    private const STATE_KEY = '[a-z0-9][a-z0-9_\-*\/]{0,255}|[a-z0-9][a-z0-9_\-*\/]{0,240}@[a-z][a-z0-9_\-*\/]{0,13}';
    private const STATE_VALUE = '[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]';
    private const TOKEN = '[!#$%&\'*+\-.^_`|~0-9A-Za-z]+';
    private const BAGGAGE_VALUE = '[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*';

    /** True if the value is valid for this header. Headers other than W3C's must be printable text of up to 8 KB. */
    public static function isValid(string $name, string $value): bool
    {
        return match ($name) {
            self::TRACE_PARENT => self::isParent($value),
            self::TRACE_STATE => self::isState($value),
            self::BAGGAGE => self::isBaggage($value),
            default => preg_match('/\A[\x20-\x7e]{1,' . self::MAX_LENGTH . '}\z/', $value) === 1
                && preg_match('/\A' . self::TOKEN . '\z/', $name) === 1,
        };
    }

    /**
     * Splits headers into valid ones and the names of invalid ones. A tracestate without a traceparent is dropped.
     *
     * @param array<mixed> $headers
     *
     * @return array{array<string, string>, list<string>}
     */
    public static function filter(array $headers): array
    {
        $valid = [];
        $refused = [];
        foreach ($headers as $name => $value) {
            if ($value === null || $value === '') {
                continue;
            }
            $name = (string) $name;
            is_string($value) && self::isValid($name, $value) ? $valid[$name] = $value : $refused[] = $name;
        }
        if (!isset($valid[self::TRACE_PARENT])) {
            unset($valid[self::TRACE_STATE]);
        }

        return [$valid, $refused];
    }

    private static function isParent(string $value): bool
    {
        if (preg_match('/\A([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[\x21-\x7e]*)?\z/', $value, $parts) !== 1) {
            return false;
        }

        return strlen($value) <= self::MAX_LENGTH
            && $parts[1] !== 'ff'
            && ($parts[1] !== '00' || !isset($parts[4]))
            && trim($parts[2], '0') !== ''
            && trim($parts[3], '0') !== '';
    }

    private static function isState(string $value): bool
    {
        $members = self::members($value, self::MAX_STATES);
        $keys = [];
        foreach ($members ?? [''] as $member) {
            if (preg_match('/\A(' . self::STATE_KEY . ')=' . self::STATE_VALUE . '\z/', $member, $parts) !== 1) {
                return false;
            }
            $keys[] = $parts[1];
        }

        return $keys === array_unique($keys);
    }

    private static function isBaggage(string $value): bool
    {
        $property = self::TOKEN . '(?:[ \t]*=[ \t]*' . self::BAGGAGE_VALUE . ')?';
        $member = self::TOKEN . '[ \t]*=[ \t]*' . self::BAGGAGE_VALUE . '(?:[ \t]*;[ \t]*' . $property . ')*';
        foreach (self::members($value, self::MAX_BAGGAGE) ?? [''] as $one) {
            if (preg_match('/\A' . $member . '\z/', $one) !== 1) {
                return false;
            }
        }

        return true;
    }

    /** @return non-empty-list<string>|null null: none, too many, or too long */
    private static function members(string $value, int $most): ?array
    {
        if (strlen($value) > self::MAX_LENGTH) {
            return null;
        }
        $members = array_map(static fn (string $member): string => trim($member, " \t"), explode(',', $value));
        $members = array_values(array_filter($members, static fn (string $member): bool => $member !== ''));

        return $members === [] || count($members) > $most ? null : $members;
    }
}
