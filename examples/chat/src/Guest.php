<?php

/**
 * A guest of the chat: a chosen name, and a secret cookie that identifies the browser.
 */

declare(strict_types=1);

namespace Chat;

final class Guest
{
    private function __construct(public readonly string $id, public readonly string $name)
    {
    }

    /**
     * The guest of this request; null if no name has been chosen yet.
     */
    public static function ofThisRequest(): ?self
    {
        [$secret, $name] = explode(' ', (string) ($_COOKIE['guest'] ?? ''), 2) + ['', ''];
        if (preg_match('/\A[0-9a-f]{32}\z/', $secret) !== 1 || self::cleaned($name) === '') {
            return null;
        }

        // Other guests see only an id derived from the secret.
        return new self(substr(hash('sha256', $secret), 0, 10), self::cleaned($name));
    }

    /**
     * Sets the cookie with this name.
     */
    public static function enter(string $name): bool
    {
        $name = self::cleaned($name);
        if ($name === '') {
            return false;
        }
        $options = ['path' => '/', 'httponly' => true, 'samesite' => 'Strict'];

        return setcookie('guest', bin2hex(random_bytes(16)) . " $name", $options);
    }

    private static function cleaned(string $name): string
    {
        return trim((string) preg_replace('/[^\p{L}\p{N} ._-]|^.{25}\K.*/us', '', $name));
    }
}
