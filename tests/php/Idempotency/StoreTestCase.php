<?php

/**
 * Base of the tests of stores: a store that is removed afterwards, and child processes that use it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\RunsPhp;

abstract class StoreTestCase extends TestCase
{
    use RunsPhp;

    /** @var list<Stores> */
    private array $opened = [];

    protected function tearDown(): void
    {
        $this->endChildren();
        foreach ($this->opened as $stores) {
            $stores->drop();
        }
        $this->opened = [];
    }

    /** @param array<string, mixed> $options named arguments of the store's constructor */
    protected function open(string $name, array $options = []): Stores
    {
        return $this->opened[] = Stores::fresh($name, $options);
    }

    /**
     * Another process with the same store as `$stores`; `$options` as for open().
     *
     * @param array<string, mixed> $options
     */
    protected function inAnotherProcess(Stores $stores, string $code, array $options = []): ChildProcess
    {
        $arguments = var_export([$stores->name, $stores->table, $options], true);

        return $this->startPhp('$stores = new \\' . Stores::class . "(...$arguments);\n$code", ['extension' => false]);
    }
}
