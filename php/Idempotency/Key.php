<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Builds keys that every store can hold, for any bytes in the caller's key. `scope:key` if that is at most 190
 * printable ASCII bytes, else `scope:sha256:<64 hex digits>` of the key.
 *
 * Readable where possible, so that a message can be found by its id.
 */
final class Key
{
    /** Maximum length in bytes; MariaDB's oldest row format can index 191 four-byte characters. */
    public const MAX_BYTES = 190;

    private const HASHED = 'sha256:';

    /**
     * @param string $scope see checkScope()
     * @param string $key any non-empty bytes
     */
    public static function make(string $scope, string $key): string
    {
        $plain = "$scope:$key";
        $fits = strlen($plain) <= self::MAX_BYTES && preg_match('/^[\x21-\x7e]+$/D', $key) === 1;
        // A key that looks like a hash must not collide with the hash of another key.
        if ($fits && !str_starts_with($key, self::HASHED)) {
            return $plain;
        }

        return "$scope:" . self::HASHED . hash('sha256', $key);
    }

    /** @throws ConfigurationException not 1 to 64 characters of A-Z a-z 0-9 . _ - */
    public static function checkScope(string $scope): string
    {
        // No colon, so that no scope and key look like another scope and key.
        if (preg_match('/^[A-Za-z0-9._-]{1,64}$/D', $scope) !== 1) {
            throw new ConfigurationException(
                "'" . addcslashes(substr($scope, 0, 80), "\0..\37'\177..\377") . "' is not a valid scope for "
                    . "idempotency keys: allowed are "
                . '1 to 64 of the characters A-Z a-z 0-9 . _ -. Use the name of the consumer group, for example.'
            );
        }

        return $scope;
    }
}
