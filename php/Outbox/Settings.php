<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use PDO;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Support\Environment;
use Toporia\Realtime\Worker\Text;

/**
 * The `outbox` section of the configuration, with its environment variables. Used by the relay and by the command that
 * creates the tables; an application passes its own PDO to Outbox.
 *
 *     'outbox' => [
 *         'dsn' => 'pgsql:host=db;dbname=shop',       // REALTIME_OUTBOX_DSN
 *         'username' => 'shop',                       // REALTIME_OUTBOX_USERNAME
 *         'password' => getenv('DB_PASSWORD'),        // REALTIME_OUTBOX_PASSWORD
 *         'table' => 'realtime_outbox',               // REALTIME_OUTBOX_TABLE
 *         'shards' => 16,
 *         'retention' => 86400,                       // seconds that sent rows are kept; 0: deleted at once
 *         'lock' => 'auto',                           // advisory, lease
 *         'lease' => 15,                              // seconds
 *     ],
 *
 * Instead of `dsn`, `connect` may be a closure that returns a new PDO each time.
 */
final class Settings
{
    public const LOCKS = ['auto', 'advisory', 'lease'];
    private const KEYS = [
        'dsn', 'username', 'password', 'options', 'connect', 'table', 'shards', 'retention', 'lock', 'lease',
    ];

    /**
     * @param array<int, mixed> $options of PDO
     * @param (Closure(): PDO)|null $connect
     */
    private function __construct(
        private ?string $dsn,
        private ?string $username,
        private ?string $password,
        private array $options,
        private ?Closure $connect,
        public readonly string $table,
        public readonly int $shards,
        public readonly int $retention,
        public readonly string $lock,
        public readonly int $lease
    ) {
    }

    /**
     * @param array<string, mixed> $config the array of config/realtime.php
     *
     * @throws ConfigurationException an unknown key, or a value of the wrong type
     */
    public static function of(array $config): self
    {
        $outbox = $config['outbox'] ?? [];
        if (!is_array($outbox)) {
            throw new ConfigurationException('outbox is ' . get_debug_type($outbox) . '; it must be an array.');
        }
        $outbox = Environment::withoutComments($outbox);
        foreach (array_keys($outbox) as $key) {
            in_array($key, self::KEYS, true) || throw self::unknown((string) $key);
        }
        $connect = $outbox['connect'] ?? null;
        if ($connect !== null && !$connect instanceof Closure) {
            throw new ConfigurationException('outbox.connect is ' . get_debug_type($connect) . '; it is a closure.');
        }
        $options = $outbox['options'] ?? [];
        $lock = self::text($outbox, 'lock') ?? 'auto';
        if (!is_array($options) || !in_array($lock, self::LOCKS, true)) {
            throw new ConfigurationException(
                'outbox.options is an array of PDO options, outbox.lock one of ' . implode(', ', self::LOCKS) . '.'
            );
        }
        $table = self::text($outbox, 'table', 'REALTIME_OUTBOX_TABLE') ?? Outbox::TABLE;
        Platform::checkTable($table);

        return new self(
            self::text($outbox, 'dsn', 'REALTIME_OUTBOX_DSN'),
            self::text($outbox, 'username', 'REALTIME_OUTBOX_USERNAME'),
            self::text($outbox, 'password', 'REALTIME_OUTBOX_PASSWORD'),
            $options,
            $connect,
            $table,
            self::number($outbox, 'shards', Outbox::SHARDS, 1, Outbox::MAX_SHARDS),
            self::number($outbox, 'retention', 86400, 0),
            $lock,
            self::number($outbox, 'lease', 15, 1, 3600)
        );
    }

    /**
     * The configured database; connects on first use.
     *
     * @throws ConfigurationException no database is configured
     */
    public function database(): Database
    {
        if ($this->connect !== null) {
            return new Database($this->connect, 'outbox.connect');
        }
        if ($this->dsn === null) {
            throw new ConfigurationException(
                'The database of the outbox is not configured. Set REALTIME_OUTBOX_DSN (with _USERNAME and '
                    . '_PASSWORD), or outbox.dsn in config/realtime.php. Example: pgsql:host=127.0.0.1;dbname=shop'
            );
        }
        // Timeout for servers that do not respond and for locked files, in seconds.
        $options = $this->options + [PDO::ATTR_TIMEOUT => 5, PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION];
        $connect = fn (): PDO => new PDO((string) $this->dsn, $this->username, $this->password, $options);

        return new Database($connect, (string) preg_replace('/(password|pwd)=[^;]*/i', '$1=***', $this->dsn));
    }

    /** The PDO driver, determined without connecting; null if that requires a connection. */
    public function driver(): ?string
    {
        return $this->connect === null && $this->dsn !== null ? (string) strstr($this->dsn, ':', true) : null;
    }

    /** @param array<string, mixed> $outbox */
    private static function text(array $outbox, string $key, ?string $variable = null): ?string
    {
        $value = $outbox[$key] ?? null;
        if ($value !== null && !is_string($value)) {
            throw new ConfigurationException("outbox.$key is " . get_debug_type($value) . '; it is a string.');
        }
        if (($value === null || $value === '') && $variable !== null) {
            $value = Environment::get($variable);
        }

        return is_string($value) && $value !== '' ? $value : null;
    }

    /** @param array<string, mixed> $outbox */
    private static function number(array $outbox, string $key, int $default, int $min, int $max = PHP_INT_MAX): int
    {
        $value = $outbox[$key] ?? '';
        $value = $value === '' ? $default : $value;
        $range = ['options' => ['min_range' => $min, 'max_range' => $max]];
        $number = is_bool($value) ? false : filter_var($value, FILTER_VALIDATE_INT, $range);
        if ($number === false) {
            $shown = is_scalar($value) ? var_export($value, true) : get_debug_type($value);
            $most = $max === PHP_INT_MAX ? "at least $min" : "from $min to $max";
            throw new ConfigurationException("outbox.$key is $shown; it is a whole number, $most.");
        }

        return $number;
    }

    private static function unknown(string $key): ConfigurationException
    {
        $nearest = Text::nearest($key, self::KEYS);

        return new ConfigurationException("Unknown setting '$key' in outbox." . ($nearest === null
            ? ' Known are: ' . implode(', ', self::KEYS) . '.'
            : " Did you mean '$nearest'?"));
    }
}
