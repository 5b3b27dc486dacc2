<?php

/**
 * Validates option values strictly, whatever host they come from.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * Hosts pass strings, some convert digits to int; an empty value never counts as "not given".
 */
final class OptionValue
{
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

    /**
     * Formats a value for an error message.
     */
    public static function shown(mixed $value): string
    {
        return is_scalar($value) ? "'" . Text::printable((string) $value) . "'" : get_debug_type($value);
    }
}
