<?php

/**
 * Creates each store on its real server, here and in child processes, and keeps the effects of a test.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use Closure;
use InvalidArgumentException;
use PDO;
use Toporia\Realtime\Idempotency\MemoryStore;
use Toporia\Realtime\Idempotency\PdoStore;
use Toporia\Realtime\Idempotency\RedisStore;
use Toporia\Realtime\Idempotency\Store;
use Toporia\Realtime\Tests\Support\Databases;

/**
 * Effects are kept in the store's backend: rows beside the marks of a PdoStore, on its connection; a list in Redis; an
 * array.
 */
final class Stores
{
    public readonly Store $store;
    public readonly ?PDO $pdo;
    /** @var list<string> effects of the memory store's tests */
    private array $effects = [];

    /**
     * @param string $name memory, phpredis, predis, sqlite, pgsql or mysql
     * @param string $table of the keys; `<table>_effects` takes the effects
     * @param array<string, mixed> $options named arguments of the store's constructor
     */
    public function __construct(public readonly string $name, public readonly string $table, array $options = [])
    {
        $redis = ['prefix' => "$table:"];
        $this->pdo = in_array($name, ['sqlite', 'pgsql', 'mysql'], true) ? Databases::connect($name) : null;
        $this->store = match (true) {
            $this->pdo !== null => new PdoStore(...(['pdo' => $this->pdo, 'table' => $table] + $options)),
            $name === 'phpredis' => new RedisStore(Databases::phpredis(), ...($redis + $options)),
            $name === 'predis' => new RedisStore(Databases::predis(), ...($redis + $options)),
            $name === 'memory' => new MemoryStore(...$options),
            default => throw new InvalidArgumentException("There is no store '$name'."),
        };
    }

    /**
     * Data provider: every store.
     *
     * @return array<string, array{string}>
     */
    public static function provide(): array
    {
        return ['memory' => ['memory']] + self::provideShared();
    }

    /**
     * Data provider: every store that several processes can share.
     *
     * @return array<string, array{string}>
     */
    public static function provideShared(): array
    {
        return ['phpredis' => ['phpredis'], 'Predis' => ['predis']] + Databases::provide();
    }

    /**
     * A fresh store with its own tables.
     *
     * @param array<string, mixed> $options
     */
    public static function fresh(string $name, array $options = []): self
    {
        $stores = new self($name, Databases::table('idem'), $options);
        if ($stores->store instanceof PdoStore) {
            $stores->store->createTable();
            $stores->pdo?->exec("CREATE TABLE {$stores->table}_effects (what VARCHAR(190) NOT NULL)");
        }

        return $stores;
    }

    /**
     * Records an effect, through the store's own connection if it is a database.
     */
    public function effect(string $what): void
    {
        if ($this->pdo !== null) {
            $this->pdo->prepare("INSERT INTO {$this->table}_effects (what) VALUES (?)")->execute([$what]);
        } elseif ($this->name === 'memory') {
            $this->effects[] = $what;
        } else {
            Databases::phpredis()->rPush("$this->table:effects", $what);
        }
    }

    /**
     * All effects, sorted, read through another connection.
     *
     * @return list<string>
     */
    public function effects(): array
    {
        $effects = match (true) {
            $this->pdo !== null => Databases::connect($this->name)
                ->query("SELECT what FROM {$this->table}_effects")->fetchAll(PDO::FETCH_COLUMN),
            $this->name === 'memory' => $this->effects,
            default => Databases::phpredis()->lRange("$this->table:effects", 0, -1),
        };
        sort($effects, SORT_STRING);

        return $effects;
    }

    /**
     * Runs an effect of that name for a key.
     *
     * @param Closure(): void|null $then run after the effect, before the mark
     */
    public function run(string $key, string $what, ?string $record = null, ?Closure $then = null): int
    {
        return $this->store->run([$key => $record], function () use ($what, $then): void {
            $this->effect($what);
            if ($then !== null) {
                $then();
            }
        });
    }

    /**
     * Removes the tables, or the keys.
     */
    public function drop(): void
    {
        if ($this->pdo !== null) {
            if ($this->pdo->inTransaction()) {
                $this->pdo->rollBack();
            }
            $this->pdo->exec("DROP TABLE IF EXISTS $this->table");
            $this->pdo->exec("DROP TABLE IF EXISTS {$this->table}_effects");
        } elseif ($this->name !== 'memory') {
            $redis = Databases::phpredis();
            $redis->del($redis->keys("$this->table:*"));
        }
    }
}
