<?php

/**
 * Specific to Redis: client options, a server that goes away at each moment, a connection in a wrong state.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Idempotency;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\Attributes\DataProviderExternal;
use Redis;
use stdClass;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\Transient;
use Toporia\Realtime\Idempotency\RedisStore;
use Toporia\Realtime\Idempotency\StoreException;
use Toporia\Realtime\Tests\Support\Databases;

final class RedisStoreEmbeddedTest extends StoreTestCase
{
    /** @dataProvider options */
    #[DataProvider('options')]
    public function testOptionsOfTheClientDoNotMatter(int $option, mixed $value): void
    {
        $redis = Databases::phpredis();
        $redis->setOption($option, $value);
        $store = new RedisStore($redis, ttl: 60, prefix: Databases::table('idem') . ':');
        self::assertSame(1, $store->run(['s:1' => 'topic-0-1'], static fn () => null));
        self::assertSame(0, $store->run(['s:1' => 'topic-0-1'], static fn () => null));
    }

    /** @return array<string, array{int, mixed}> */
    public static function options(): array
    {
        return [
            'prefix' => [Redis::OPT_PREFIX, 'app:' . bin2hex(random_bytes(3)) . ':'],
            'serializer' => [Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP],
            'literal replies' => [Redis::OPT_REPLY_LITERAL, true],
        ];
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\CrashEmbeddedTest::clients */
    #[DataProviderExternal(CrashEmbeddedTest::class, 'clients')]
    public function testKeysExpireAfterTheirTime(string $name): void
    {
        $stores = $this->open($name, ['ttl' => 1000, 'lease' => 100]);
        $redis = Databases::phpredis();
        $key = "$stores->table:s:1";
        $stores->run('s:1', 'effect', 'topic-0-1', static function () use ($redis, $key): void {
            self::assertStringStartsWith('claim:', (string) $redis->get($key));
            self::assertEqualsWithDelta(100, $redis->ttl($key), 2, 'the lease while it runs');
        });
        self::assertSame('done', $redis->get($key));
        self::assertEqualsWithDelta(1000, $redis->ttl($key), 2, 'the time to live afterwards');
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\CrashEmbeddedTest::clients */
    #[DataProviderExternal(CrashEmbeddedTest::class, 'clients')]
    public function testAClaimThatWasTakenOverIsNotReleased(string $name): void
    {
        $stores = $this->open($name);
        try {
            $stores->run('s:1', 'first', 'topic-0-1', static function () use ($stores): void {
                // Another worker has got the record in the meantime, and is still busy with it when the first one
                // fails.
                Databases::phpredis()->set("$stores->table:s:1", 'claim:' . str_repeat('f', 16) . ':topic-0-1');
                throw new \RuntimeException('no');
            });
            self::fail('it has to throw');
        } catch (\RuntimeException $e) {
            self::assertSame('no', $e->getMessage());
        }
        self::assertSame('claim:' . str_repeat('f', 16) . ':topic-0-1', Databases::phpredis()->get("$stores->table:s:1"));
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\CrashEmbeddedTest::clients */
    #[DataProviderExternal(CrashEmbeddedTest::class, 'clients')]
    public function testARedisThatGoesAway(string $name): void
    {
        $socket = Databases::startOwn('redis', 'away');
        $log = (string) tempnam(sys_get_temp_dir(), 'realtime-log-');
        $before = (string) ini_set('error_log', $log);
        try {
            $store = new RedisStore(static function () use ($name, $socket): object {
                if ($name === 'predis') {
                    Databases::predis();

                    return new \Predis\Client(['scheme' => 'unix', 'path' => $socket]);
                }
                $redis = new Redis();
                $redis->connect($socket);

                return $redis;
            });
            $runs = 0;
            // Down after the effect: the mark is missing, which is logged; throwing would only repeat the effect.
            self::assertSame(1, $store->run(['s:1' => 'topic-0-1'], static function () use (&$runs): void {
                $runs++;
                Databases::kill('redis', 'away');
            }));
            self::assertStringContainsString("'s:1' was handled, but could not be marked", (string) file_get_contents($log));
            // Down before the effect: it is not run, and the failure is transient.
            try {
                $store->run(['s:2' => 'topic-0-2'], static fn () => self::fail('it must not run'));
                self::fail('it has to throw');
            } catch (StoreException $e) {
                self::assertInstanceOf(Transient::class, $e);
                self::assertStringContainsString('s:2', $e->getMessage());
                self::assertStringContainsString('Is it running', $e->getMessage());
            }
            Databases::restart('redis', 'away');
            self::assertSame(1, $store->run(['s:2' => 'topic-0-2'], static fn () => null));
            self::assertSame(0, $store->run(['s:2' => 'topic-0-2'], static fn () => null));
            self::assertSame(1, $runs);
        } finally {
            ini_set('error_log', $before);
            unlink($log);
            Databases::stop('redis', 'away');
        }
    }

    public function testAConnectionInMultiIsRefused(): void
    {
        $redis = Databases::phpredis();
        $redis->multi();
        $this->expectException(StoreException::class);
        $this->expectExceptionMessage('MULTI');
        (new RedisStore($redis))->run(['s:1' => null], static fn () => self::fail('it must not run'));
    }

    /** @dataProvider Toporia\Realtime\Tests\Idempotency\CrashEmbeddedTest::clients */
    #[DataProviderExternal(CrashEmbeddedTest::class, 'clients')]
    public function testAForeignValueUnderTheKeyIsAnError(string $name): void
    {
        $stores = $this->open($name);
        Databases::phpredis()->rPush("$stores->table:s:1", 'a list');
        $this->expectException(StoreException::class);
        $this->expectExceptionMessage('WRONGTYPE');
        $stores->run('s:1', 'effect');
    }

    public function testAnInvalidClientIsRefused(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('stdClass');
        new RedisStore(new stdClass());
    }
}
