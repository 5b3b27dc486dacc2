<?php

declare(strict_types=1);

namespace Toporia\Realtime\Idempotency;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Keeps the keys in Redis (or Valkey, KeyDB, Dragonfly), through phpredis or Predis. All workers on all machines share
 * the keys, and Redis expires them.
 *
 *     $redis = new Redis();
 *     $redis->connect('127.0.0.1');
 *     $idempotency = new Idempotency(new RedisStore($redis), 'orders');
 *     $broker->subscribe('order.*', $idempotency->wrap($callback));
 *
 * A claim is taken over by record, so two groups that share a scope may handle the same record at the same time.
 *
 * A crash between the effect and its mark repeats the effect, as does a Redis that loses acknowledged writes: a restart
 * without persistence, a failover to a lagging replica, an eviction policy (use `noeviction`, or `volatile-ttl` with
 * enough memory). If the effect is in a database, use PdoStore, which has neither gap.
 */
final class RedisStore extends ClaimingStore
{
    // Values: 'done', or 'claim:' + 16 hex digits of the token + ':' + record. KEYS[1]: key. ARGV: token, record, ms.
    private const CLAIM = <<<'LUA'
        local value = redis.call('GET', KEYS[1])
        if value == 'done' then return 2 end
        if value and (ARGV[2] == '' or string.sub(value, 24) ~= ARGV[2]) then return 3 end
        redis.call('SET', KEYS[1], 'claim:' .. ARGV[1] .. ':' .. ARGV[2], 'PX', ARGV[3])
        return 1
        LUA;

    private const CONFIRM = <<<'LUA'
        redis.call('SET', KEYS[1], 'done', 'EX', ARGV[1])
        return 1
        LUA;

    private const RELEASE = <<<'LUA'
        local value = redis.call('GET', KEYS[1])
        if value and string.sub(value, 7, 22) == ARGV[1] then redis.call('DEL', KEYS[1]) end
        return 1
        LUA;

    /**
     * @param object $redis Redis or RedisCluster of phpredis, Predis\ClientInterface, or a closure that
     *     returns one. The closure is called for each message: let it return a connection it holds
     * @param int $ttl seconds to remember a handled key; longer than duplicates can be delayed
     * @param int $lease how long the claim of a crashed worker keeps other records with this key away, in seconds;
     *     longer than the slowest effect
     * @param int $waitMs time to wait for a key claimed by another worker, in ms
     * @param string $prefix prefix of the keys in Redis, in addition to the client's own prefix
     *
     * @throws ConfigurationException an unknown client, or a number out of range
     */
    public function __construct(
        private object $redis,
        int $ttl = 604800,
        int $lease = 300,
        int $waitMs = 5000,
        private string $prefix = 'realtime:idempotency:'
    ) {
        parent::__construct($ttl, $lease, $waitMs);
        if (!$redis instanceof Closure) {
            self::check($redis);
        }
    }

    protected function claim(string $key, string $token, string $record): Claim
    {
        $reply = $this->eval(self::CLAIM, $key, [$token, $record, (string) ($this->lease * 1000)]);

        return match ($reply) {
            1 => Claim::Granted,
            2 => Claim::Done,
            default => Claim::Busy,
        };
    }

    protected function confirm(string $key): void
    {
        $this->eval(self::CONFIRM, $key, [(string) $this->ttl]);
    }

    protected function release(string $key, string $token): void
    {
        $this->eval(self::RELEASE, $key, [$token]);
    }

    /** @param list<string> $arguments */
    private function eval(string $script, string $key, array $arguments): int
    {
        $why = null;
        $reply = null;
        try {
            $client = $this->redis instanceof Closure ? self::check(($this->redis)()) : $this->redis;
            if ($client instanceof \Predis\ClientInterface) {
                $reply = $client->eval($script, 1, $this->prefix . $key, ...$arguments);
            } else {
                $client->clearLastError();
                $reply = $client->eval($script, [$this->prefix . $key, ...$arguments], 1);
            }
        } catch (ConfigurationException $e) {
            throw $e;
        } catch (Throwable $why) {
        }
        if (is_int($reply)) {
            return $reply;
        }
        throw new StoreException(sprintf(
            "Redis did not respond for the idempotency key '%s': %s. Is it running, and is the connection inside "
                . "a MULTI, pipeline or subscription?",
            $key,
            self::reason($why, $reply, $client ?? null)
        ), 0, $why);
    }

    private static function reason(?Throwable $why, mixed $reply, ?object $client): string
    {
        if ($why !== null) {
            return $why->getMessage();
        }
        if ($reply instanceof \Predis\Response\ErrorInterface) {
            return $reply->getMessage();
        }
        if ($reply === false && $client !== null && method_exists($client, 'getLastError')) {
            return (string) ($client->getLastError() ?? 'no reply');
        }

        return 'it replied with ' . get_debug_type($reply);
    }

    private static function check(mixed $client): object
    {
        $known = ['Redis', 'RedisCluster', 'Predis\ClientInterface'];
        foreach ($known as $class) {
            if ($client instanceof $class) {
                return $client;
            }
        }
        throw new ConfigurationException(
            'RedisStore needs a Redis client (' . implode(', ', $known) . ') or a closure that returns one, not '
            . get_debug_type($client) . '.'
        );
    }
}
