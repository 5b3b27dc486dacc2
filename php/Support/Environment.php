<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Toporia\Realtime\Realtime;

/**
 * Environment variables as the extension reads them: without the comment that some parsers of `.env` files keep.
 * `KAFKA_BROKERS=localhost:9092 # the local broker` is `localhost:9092`, with a warning. The same rules as in
 * src/config/mod.rs.
 */
final class Environment
{
    private const SECRET = '/password|secret|pem|jaas|passphrase|oauthbearer\.config|master_key/i';

    /** Set by the web server from the request. */
    private const OF_THE_REQUEST = '/\A(HTTP|PATH|QUERY|REQUEST|ORIG|SCRIPT|PHP|REMOTE|CONTENT)_/';

    /**
     * A variable; null if it is unset or blank. `$_ENV` and `$_SERVER` come first: PHP-FPM hides the environment from
     * getenv() if `clear_env` is on.
     */
    public static function get(string $name): ?string
    {
        foreach ([$_ENV[$name] ?? null, $_SERVER[$name] ?? null, getenv($name)] as $value) {
            if (is_string($value) && trim($value) !== '') {
                $value = self::clean($name, $value);

                return trim($value) === '' ? null : $value;
            }
        }

        return null;
    }

    /** The text of a variable without a trailing comment. */
    public static function clean(string $name, string $value): string
    {
        $clean = self::withoutComment($name, $value);
        if ($clean === null) {
            return $value;
        }
        Realtime::log('warning', "The environment variable $name ends with a comment (\"# …\"), which is ignored. Move "
            . 'the comment to a line of its own, or quote a value that contains it.');

        return $clean;
    }

    /**
     * An array of settings without the comments of the variables that it reads with `env()`. A text with `#` that is
     * not that of a variable stays as it is.
     *
     * @template T of mixed
     *
     * @param T $value
     *
     * @return T
     */
    public static function withoutComments(mixed $value, string $key = ''): mixed
    {
        if (is_string($value)) {
            return str_contains($value, '#') ? self::ofVariable($key, $value) ?? $value : $value;
        }
        if (!is_array($value)) {
            return $value;
        }
        // explode(',', env('KAFKA_BROKERS'))
        $texts = array_is_list($value) ? array_filter($value, 'is_string') : [];
        if ($texts !== [] && $texts === $value && str_contains($text = implode(',', $texts), '#')) {
            $text = self::ofVariable($key, $text);
            if ($text !== null) {
                return $text === '' ? [] : explode(',', $text);
            }
        }
        foreach ($value as $name => $member) {
            if (is_array($member) || is_string($member) && str_contains($member, '#')) {
                $value[$name] = self::withoutComments($member, is_string($name) ? $name : $key);
            }
        }

        return $value;
    }

    private static function ofVariable(string $key, string $text): ?string
    {
        foreach ([$_ENV, $_SERVER, getenv()] as $variables) {
            foreach ($variables as $name => $raw) {
                $name = (string) $name;
                $isSame = is_string($raw) && self::parts($raw) === self::parts($text);
                if (!$isSame || preg_match(self::OF_THE_REQUEST, $name) === 1) {
                    continue;
                }
                $clean = self::withoutComment("$name $key", $raw);
                if ($clean !== null) {
                    self::clean($name, $raw);

                    return $clean;
                }
            }
        }

        return null;
    }

    /** @return list<string> */
    private static function parts(string $text): array
    {
        return array_map('trim', explode(',', $text));
    }

    /** Null if there is no comment. */
    private static function withoutComment(string $name, string $value): ?string
    {
        $text = trim($value);
        // A quoted value ends at its closing quote, and may itself contain a `#`.
        if (preg_match('/\A(["\'])(.*?)\1(.*)\z/s', $text, $match) === 1) {
            return preg_match('/\A[ \t]+#/', $match[3]) === 1 ? $match[2] : null;
        }
        // A secret may contain " #", but a comment usually has a space after the `#`.
        $comment = preg_match(self::SECRET, $name) === 1 ? '/(?:\A|(?<=[ \t]))#(?=[ \t]|\z)/' : '/(?:\A|(?<=[ \t]))#/';

        return preg_match($comment, $text, $match, PREG_OFFSET_CAPTURE) === 1
            ? rtrim(substr($text, 0, $match[0][1]))
            : null;
    }
}
