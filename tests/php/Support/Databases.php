<?php

/**
 * The databases and the Redis of the store tests: from the environment, otherwise private ones of this process.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use InvalidArgumentException;
use PDO;
use Predis\Client;
use Redis;
use RuntimeException;

/**
 * A server is started on first use, and stopped with the process that runs the tests. Child processes get its address
 * from the environment, and connect through this class too.
 *
 *     /** @dataProvider Toporia\Realtime\Tests\Support\Databases::provide *\/
 *     public function testWhatever(string $database): void
 *     {
 *         $pdo = Databases::connect($database);
 *         $table = Databases::table();
 */
final class Databases
{
    private const SERVERS = [
        'pgsql' => ['REALTIME_TEST_PGSQL', 'postgres'],
        'mysql' => ['REALTIME_TEST_MARIADB', 'mariadb'],
        'redis' => ['REALTIME_TEST_REDIS', 'redis'],
    ];

    /**
     * Data provider: one PDO driver per test.
     *
     * @return array<string, array{string}>
     */
    public static function provide(): array
    {
        return ['SQLite' => ['sqlite'], 'PostgreSQL' => ['pgsql'], 'MariaDB' => ['mysql']];
    }

    /**
     * The same without SQLite, which locks its whole file.
     *
     * @return array<string, array{string}>
     */
    public static function provideServers(): array
    {
        return ['PostgreSQL' => ['pgsql'], 'MariaDB' => ['mysql']];
    }

    /**
     * A new connection that throws on errors; SQLite waits 5 s for a lock.
     *
     * @param string $driver sqlite, pgsql or mysql
     * @param array<int, mixed> $options of PDO
     */
    public static function connect(string $driver, array $options = []): PDO
    {
        $options += [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION];
        $options += $driver === 'sqlite' ? [PDO::ATTR_TIMEOUT => 5] : [];

        return new PDO(self::dsn($driver), null, null, $options);
    }

    /**
     * The data source name including the user, so that child processes need only `new PDO($dsn)`.
     */
    public static function dsn(string $driver): string
    {
        return $driver === 'sqlite' ? 'sqlite:' . self::sqliteFile() : self::address($driver);
    }

    /**
     * The path of Redis's socket.
     */
    public static function redisSocket(): string
    {
        return self::address('redis');
    }

    /**
     * A new connection through the phpredis extension.
     */
    public static function phpredis(): Redis
    {
        $redis = new Redis();
        $redis->connect(self::redisSocket());

        return $redis;
    }

    /**
     * A new connection through Predis.
     */
    public static function predis(): Client
    {
        if (!class_exists(Client::class)) {
            require_once 'Predis/autoload.php';
        }

        return new Client(['scheme' => 'unix', 'path' => self::redisSocket()]);
    }

    /**
     * A unique name; for tables, and as the prefix of keys in Redis.
     */
    public static function table(string $prefix = 't'): string
    {
        return $prefix . '_' . bin2hex(random_bytes(5));
    }

    /**
     * Starts a private server, which the test may kill(); remove it with stop() in tearDown().
     *
     * @param string $driver pgsql, mysql or redis
     *
     * @return string its address, as dsn() and redisSocket() give it
     */
    public static function startOwn(string $driver, string $name): string
    {
        return self::started($driver, self::ownName($name));
    }

    /**
     * Kills a server of startOwn(); restart() starts it again with its data.
     */
    public static function kill(string $driver, string $name): void
    {
        self::script(['kill', self::server($driver)[1], '--name=' . self::ownName($name)]);
    }

    /**
     * Starts a killed server again at its address.
     */
    public static function restart(string $driver, string $name): void
    {
        self::script(['restart', self::server($driver)[1], '--name=' . self::ownName($name)]);
    }

    /**
     * Stops a server of startOwn() and removes its data.
     */
    public static function stop(string $driver, string $name): void
    {
        self::script(['stop', self::server($driver)[1], '--name=' . self::ownName($name)]);
    }

    private static function address(string $driver): string
    {
        [$variable] = self::server($driver);
        if ((string) getenv($variable) === '') {
            putenv("$variable=" . self::started($driver, 'phpunit-' . getmypid()));
        }

        return (string) getenv($variable);
    }

    private static function started(string $driver, string $name): string
    {
        [$variable, $kind] = self::server($driver);
        $output = self::script(['start', $kind, "--name=$name", '--owner=' . getmypid()]);
        if (!preg_match("/^export $variable='(.+)'$/m", $output, $matches)) {
            throw new RuntimeException("databases.sh start $kind printed no $variable, but: $output");
        }

        return $matches[1];
    }

    private static function sqliteFile(): string
    {
        $file = (string) getenv('REALTIME_TEST_SQLITE');
        if ($file === '') {
            $file = (string) tempnam(sys_get_temp_dir(), 'realtime-sqlite-');
            putenv("REALTIME_TEST_SQLITE=$file");
            $owner = getmypid();
            register_shutdown_function(static function () use ($file, $owner): void {
                // A forked child inherits this function, and must not remove the file of its parent.
                if (getmypid() === $owner) {
                    array_map('unlink', glob("$file*") ?: []);
                }
            });
        }

        return $file;
    }

    private static function ownName(string $name): string
    {
        return 'phpunit-' . getmypid() . "-$name";
    }

    /** @return array{string, string} the variable of its address, and what databases.sh calls it */
    private static function server(string $driver): array
    {
        return self::SERVERS[$driver] ?? throw new InvalidArgumentException(
            "'$driver' has no server; these have: " . implode(', ', array_keys(self::SERVERS))
        );
    }

    /** @param list<string> $arguments of databases.sh */
    private static function script(array $arguments): string
    {
        $command = [dirname(__DIR__, 2) . '/support/databases.sh', ...$arguments];
        $result = (new ChildProcess($command, getenv()))->wait(60.0);
        if ($result->exitCode !== 0) {
            throw new RuntimeException('databases.sh ' . implode(' ', $arguments) . ': ' . $result->describe());
        }

        return $result->stdout;
    }
}
