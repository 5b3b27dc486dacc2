<?php

/**
 * The contract of every store, tested with each of them on real servers.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use PHPUnit\Framework\Attributes\DataProviderExternal;
use RuntimeException;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Idempotency\Idempotency;
use Toporia\Realtime\Idempotency\Key;
use Toporia\Realtime\Message;

final class StoreContractEmbeddedTest extends StoreTestCase
{
    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testTheEffectRunsOnce(string $name): void
    {
        $stores = $this->open($name);
        self::assertSame(1, $stores->run('s:1', 'first'));
        self::assertSame(0, $stores->run('s:1', 'second'));
        self::assertSame(0, $stores->run('s:1', 'third', 'topic-0-1'));
        self::assertSame(1, $stores->run('s:2', 'other'));
        self::assertSame(['first', 'other'], $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testAfterAnExceptionItRunsAgain(string $name): void
    {
        $stores = $this->open($name);
        $fails = static fn () => throw new RuntimeException('no');
        foreach ([1, 2] as $try) {
            try {
                $stores->run('s:1', "try $try", 'topic-0-1', $fails);
                self::fail('it has to throw');
            } catch (RuntimeException $e) {
                self::assertSame('no', $e->getMessage());
            }
        }
        self::assertSame(1, $stores->run('s:1', 'try 3', 'topic-0-2'), 'another record: the claim is released');
        self::assertSame(0, $stores->run('s:1', 'try 4'));
        // The database rolls the failed attempts back.
        $left = $stores->pdo !== null ? ['try 3'] : ['try 1', 'try 2', 'try 3'];
        self::assertSame($left, $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testKeysAreComparedByteForByte(string $name): void
    {
        $stores = $this->open($name);
        $idempotency = new Idempotency($stores->store, 'bytes');
        $keys = ['a', 'A', 'a ', 'á', 'a', "a\0", "a\n", "\xff\xfe", '0', '00', "a'b\"c\\", 'a%', 'a_', ':id', '?',
            str_repeat('x', 189 - 5), str_repeat('x', 1000), str_repeat('x', 1000) . 'y'];
        $fresh = array_values(array_unique($keys));
        $ran = array_filter($keys, static fn (string $key) => $idempotency->once($key, static fn () => null));
        self::assertSame($fresh, array_values($ran));
        self::assertSame([], array_filter($keys, static fn (string $key) => $idempotency->once($key, static fn () => null)));
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testAKeyOfTheMaximumLength(string $name): void
    {
        $stores = $this->open($name);
        $long = str_repeat('k', Key::MAX_BYTES - 1);
        self::assertSame(2, $stores->store->run(["{$long}1" => null, "{$long}2" => null], static fn () => null));
        self::assertSame(0, $stores->store->run(["{$long}1" => null, "{$long}2" => null], static fn () => null));
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testSeveralKeysInOneCall(string $name): void
    {
        $stores = $this->open($name);
        $given = [];
        $effect = static function (array $fresh) use (&$given): void {
            $given[] = $fresh;
        };
        self::assertSame(2, $stores->store->run(['s:z' => null, 's:a' => null], $effect));
        self::assertSame(2, $stores->store->run(['s:y' => null, 's:z' => null, 's:b' => null, 's:a' => null], $effect));
        self::assertSame(0, $stores->store->run(['s:y' => null, 's:z' => null], $effect));
        self::assertSame([['s:z', 's:a'], ['s:y', 's:b']], $given, 'in the order they came');
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testAKeyExpiresAfterItsTime(string $name): void
    {
        $now = time();
        // Redis has its own clock.
        $redis = str_contains($name, 'redis');
        $stores = $this->open($name, ['ttl' => 1] + ($redis ? [] : ['clock' => static function () use (&$now): int {
            return $now;
        }]));
        self::assertSame(1, $stores->run('s:1', 'first'));
        self::assertSame(0, $stores->run('s:1', 'too early'));
        $redis ? usleep(1_050_000) : $now++;
        self::assertSame(1, $stores->run('s:1', 'second'));
        self::assertSame(0, $stores->run('s:1', 'too early again'));
        self::assertSame(['first', 'second'], $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testABatchWithAFailure(string $name): void
    {
        $stores = $this->open($name);
        $idempotency = new Idempotency($stores->store, 'list');
        $list = array_map(static fn (int $i) => Message::event('c', 'e', $i), range(0, 5));
        $failing = 3;
        $callback = $idempotency->wrap(static function (array $messages) use ($stores, &$failing): void {
            foreach ($messages as $i => $message) {
                if ($message->getData() === $failing) {
                    throw new BatchException($i, new RuntimeException('this one'));
                }
                $stores->effect("effect {$message->getData()}");
            }
        });
        try {
            $callback($list);
            self::fail('it has to throw');
        } catch (BatchException $e) {
            self::assertSame([3, 'this one'], [$e->getIndex(), $e->getPrevious()?->getMessage()]);
        }
        self::assertSame(['effect 0', 'effect 1', 'effect 2'], $stores->effects(), 'those before it are done, once');
        $failing = null;
        $callback($list);
        self::assertSame(array_map(static fn (int $i) => "effect $i", range(0, 5)), $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provideShared */
    #[DataProviderExternal(Stores::class, 'provideShared')]
    public function testAnotherProcessSeesTheMark(string $name): void
    {
        $stores = $this->open($name);
        $stores->run('s:1', 'here');
        $child = $this->inAnotherProcess($stores, '
            echo json_encode([$stores->run("s:1", "there"), $stores->run("s:2", "there")]);
        ');
        self::assertSame([0, 1], $child->wait()->json());
        self::assertSame(0, $stores->run('s:2', 'here'));
        self::assertSame(['here', 'there'], $stores->effects());
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testInvalidTimes(string $name): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('ttl');
        new Stores($name, 't', ['ttl' => 0]);
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\Stores::provide */
    #[DataProviderExternal(Stores::class, 'provide')]
    public function testAnErrorOfPhpLeavesNoMark(string $name): void
    {
        $stores = $this->open($name);
        try {
            $stores->run('s:1', 'first', null, static fn () => intdiv(1, 0));
            self::fail('it has to throw');
        } catch (Throwable $e) {
            self::assertSame('Division by zero', $e->getMessage());
        }
        self::assertSame(1, $stores->run('s:1', 'second'));
    }
}
