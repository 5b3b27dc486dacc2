<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use DateTimeInterface;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Support\Channel;

/**
 * Validates option values strictly, whatever host they come from. Hosts pass strings, some convert digits to int; an
 * empty value never counts as "not given".
 */
final class OptionValue
{
    private const DURATIONS = [
        '' => 1, 'ms' => 1, 's' => 1000, 'm' => 60_000, 'min' => 60_000, 'h' => 3_600_000, 'd' => 86_400_000,
        'w' => 604_800_000,
    ];

    /**
     * A whole number in decimal digits.
     *
     * @param string $option with its dashes: `--timeout`
     *
     * @throws UsageError not a whole number, or out of range
     */
    public static function int(string $option, mixed $value, int $min, int $max = PHP_INT_MAX): int
    {
        $text = is_int($value) ? (string) $value : $value;
        if (!is_string($text) || preg_match('/\A-?\d+\z/', $text) !== 1) {
            $example = max($min, 1);
            throw new UsageError(
                "$option=" . self::shown($value) . " is not a whole number. Example: $option=$example"
            );
        }
        $number = filter_var(preg_replace('/\A(-?)0+(?=\d)/', '$1', $text), FILTER_VALIDATE_INT);
        if ($number === false || $number < $min || $number > $max) {
            $range = $max === PHP_INT_MAX ? "at least $min" : "from $min to $max";
            throw new UsageError("$option=$text is out of range: it must be $range.");
        }

        return $number;
    }

    /**
     * Same as int(); null if the option was not given.
     *
     * @throws UsageError not a whole number, or out of range
     */
    public static function optionalInt(string $option, mixed $value, int $min, int $max = PHP_INT_MAX): ?int
    {
        return $value === null ? null : self::int($option, $value, $min, $max);
    }

    /**
     * A non-empty string; null if the option was not given.
     *
     * @throws UsageError an empty value
     */
    public static function text(string $option, mixed $value): ?string
    {
        if ($value === null) {
            return null;
        }
        $text = is_scalar($value) ? trim((string) $value) : '';
        if ($text === '') {
            throw new UsageError("$option needs a value.");
        }

        return $text;
    }

    /**
     * An amount of memory in bytes; `128` and `128M` are 128 MB, also `1G`, `65536K`.
     *
     * @throws UsageError not an amount of memory
     */
    public static function memory(string $option, mixed $value): int
    {
        $text = is_int($value) ? (string) $value : $value;
        $match = [];
        if (!is_string($text) || !preg_match('/\A0*([1-9]\d{0,8})([KMG]?)B?\z/i', $text, $match)) {
            throw new UsageError(
                "$option=" . self::shown($value) . " is not an amount of memory. Example: $option=128 (MB), $option=1G"
            );
        }

        return (int) $match[1] * ['K' => 1 << 10, 'M' => 1 << 20, 'G' => 1 << 30][strtoupper($match[2]) ?: 'M'];
    }

    /** Formats a value for an error message. */
    public static function shown(mixed $value): string
    {
        return is_scalar($value) ? "'" . Text::printable((string) $value) . "'" : get_debug_type($value);
    }

    /**
     * `user.1,order.*` → `['user.1', 'order.*']`: each name once, in the given order.
     *
     * @param mixed $value a string, a list of strings, or null if the option is absent
     * @param string $option the option's name, with dashes
     *
     * @return non-empty-list<string>
     *
     * @throws UsageError no value, or an empty name in the list
     */
    public static function channels(mixed $value, string $option = '--channels'): array
    {
        $given = is_array($value) ? $value : ($value === null ? [] : [$value]);
        if ($given === []) {
            throw new UsageError("$option is required, for example $option=user.1,order.*");
        }
        $channels = [];
        foreach ($given as $list) {
            foreach (explode(',', is_scalar($list) ? (string) $list : '') as $channel) {
                $channel = trim($channel);
                if ($channel === '') {
                    $shown = self::shown($list);
                    throw new UsageError("$option=$shown has an empty name. Example: $option=user.1,order.*");
                }
                $channels[$channel] = true;
            }
        }

        return array_map('strval', array_keys($channels));
    }

    /**
     * `['x-tenant: 7']` → `['x-tenant' => '7']`; the last value wins if a name is repeated.
     *
     * @param array<int, mixed> $given
     *
     * @return array<string, string>
     *
     * @throws UsageError no name, or neither a colon nor an equals sign
     */
    public static function headers(array $given): array
    {
        $headers = [];
        foreach ($given as $entry) {
            $text = is_scalar($entry) ? (string) $entry : '';
            if (preg_match('/\A\s*([^:=\s][^:=]*?)\s*[:=]\s*(.*?)\s*\z/s', $text, $match) !== 1) {
                throw new UsageError(
                    '--header=' . self::shown($entry) . " is not name:value. Example: --header='x-tenant: 7'"
                );
            }
            $headers[$match[1]] = $match[2];
        }

        return $headers;
    }

    /**
     * `['orders:3', 'users']` → `['orders' => 3, 'users' => 1]`
     *
     * @param array<int, mixed> $given
     *
     * @return array<string, int> partitions by topic
     *
     * @throws UsageError an invalid topic name or number of partitions
     */
    public static function topics(array $given): array
    {
        $topics = [];
        foreach ($given as $entry) {
            $text = is_scalar($entry) ? (string) $entry : '';
            [$topic, $partitions] = explode(':', $text, 2) + [1 => '1'];
            self::topic('--topic', $topic);
            if (preg_match('/\A[1-9]\d{0,3}\z/', $partitions) !== 1) {
                throw new UsageError(
                    '--topic=' . self::shown($entry) . ' needs a number of partitions from 1 to 9999 after the '
                    . 'colon. Example: --topic=realtime_user_1:4'
                );
            }
            $topics[$topic] = (int) $partitions;
        }

        return $topics;
    }

    /**
     * The name of a topic.
     *
     * @throws UsageError not given, or a name that Kafka does not allow
     */
    public static function topic(string $option, mixed $value): string
    {
        $topic = (string) self::text($option, $value);
        try {
            Channel::checkTopic($topic);
        } catch (InvalidChannelException $e) {
            throw new UsageError("$option: {$e->getMessage()}", 0, $e);
        }

        return $topic;
    }

    /**
     * `host`, `host:port`, `:port` or `port`; the default of a missing part is the configured one.
     *
     * @param string $option with its dashes: `--websocket`
     *
     * @return array{host?: string, port?: int}
     *
     * @throws UsageError neither a host nor a port
     */
    public static function address(string $option, mixed $value): array
    {
        $text = (string) self::text($option, $value);
        $match = [];
        $pattern = '/\A(?:\[(?<v6>[0-9A-Fa-f:.]+)\]|(?<host>[A-Za-z0-9._-]*[A-Za-z._-][A-Za-z0-9._-]*'
            . '|\d+\.\d+\.\d+\.\d+)?)(?::(?<port>\d+))?\z/';
        if (preg_match('/\A\d+\z/', $text) === 1) {
            return ['port' => self::int($option, $text, 0, 65535)];
        }
        if ($text === ':' || preg_match($pattern, $text, $match, PREG_UNMATCHED_AS_NULL) !== 1) {
            throw new UsageError(
                "$option=" . self::shown($value) . " is not an address. Example: $option=0.0.0.0:6001"
            );
        }
        $host = $match['v6'] ?? $match['host'] ?? null;
        $port = isset($match['port']) ? self::int($option, $match['port'], 0, 65535) : null;

        return ($host === null || $host === '' ? [] : ['host' => $host]) + ($port === null ? [] : ['port' => $port]);
    }

    /**
     * A time: a duration ago (`15m`, `7d`), an ISO 8601 time, or Unix seconds.
     *
     * @param int $now Unix seconds
     *
     * @return int|null Unix seconds; null: not given
     *
     * @throws UsageError not a time
     */
    public static function time(string $option, mixed $value, int $now): ?int
    {
        $text = self::text($option, $value);
        if ($text === null) {
            return null;
        }
        if (preg_match('/\A(\d{1,7})([smhd])\z/i', $text, $match) === 1) {
            return $now - (int) $match[1] * intdiv(self::DURATIONS[strtolower($match[2])], 1000);
        }
        try {
            $position = FromPosition::parse($text)->position();
        } catch (UsageError) {
            $position = null;
        }

        return $position instanceof DateTimeInterface ? $position->getTimestamp() : throw new UsageError(
            "$option=" . self::shown($value) . ' is not a time. Expected a duration ago (90s, 15m, 2h, 7d), an ISO 8601 '
            . 'time such as 2026-01-31T08:00:00Z, or Unix seconds.'
        );
    }

    /**
     * `7d`, `12h`, `30min`, `60000` (ms), `-1` (unlimited).
     *
     * @return int|null ms; -1: unlimited; null: not given
     *
     * @throws UsageError not a time
     */
    public static function retention(mixed $given): ?int
    {
        $text = self::text('--retention', $given);
        if ($text === null || $text === '-1') {
            return $text === null ? null : -1;
        }
        if (preg_match('/\A([1-9]\d{0,11})\s*(ms|s|m|min|h|d|w|)\z/i', $text, $match) !== 1) {
            throw new UsageError(
                '--retention=' . self::shown($given) . ' is not a duration. Examples: --retention=7d, 12h, 30min, '
                . '60000 (ms), -1 (unlimited)'
            );
        }

        return (int) $match[1] * self::DURATIONS[strtolower($match[2])];
    }
}
