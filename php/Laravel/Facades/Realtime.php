<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Facades;

use Illuminate\Support\Facades\Facade;
use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Laravel\Manager;
use Toporia\Realtime\Realtime as Native;

// phpcs:disable Generic.Files.LineLength -- a @method cannot be broken into lines
/**
 * The Realtime facade: `Realtime::broadcast(…)`.
 *
 * @method static string broadcast(string|array $channel, string $event, mixed $data = null, ?string $key = null, array $headers = [], ?string $except = null)
 * @method static \Toporia\Realtime\Laravel\AfterCommit afterCommit()
 * @method static \Toporia\Realtime\Broker broker(?string $name = null)
 * @method static void flush(int $timeoutMs = 10000)
 * @method static array stats()
 * @method static \Toporia\Realtime\Testing\RealtimeFake fake(?\Toporia\Realtime\Contract\Publisher $fake = null)
 * @method static void restore()
 * @method static void assertBroadcast(string $channel, ?string $event = null, ?callable $where = null)
 * @method static void assertBroadcastTimes(string $channel, ?string $event = null, int $times = 1, ?callable $where = null)
 * @method static void assertNotBroadcast(string $channel, ?string $event = null, ?callable $where = null)
 * @method static void assertNothingBroadcast(?string $channel = null, ?string $event = null, ?callable $where = null)
 * @method static void assertAcked(\Toporia\Realtime\Message $message)
 * @method static void assertNacked(\Toporia\Realtime\Message $message)
 * @method static array broadcasts(?string $channel = null, ?string $event = null, ?callable $where = null)
 * @method static array sent()
 * @method static \Toporia\Realtime\Testing\RealtimeFake receive(string $channel, string $event, mixed $data = null, ?string $key = null, array $headers = [])
 *
 * @see Manager
 */
final class Realtime extends Facade
{
    /**
     * Routes all sending through a publisher; any other object replaces the facade's root, as in every facade.
     *
     * @param mixed $instance
     */
    public static function swap($instance)
    {
        $instance instanceof Publisher ? Native::swap($instance) : parent::swap($instance);
    }

    protected static function getFacadeAccessor()
    {
        return Manager::class;
    }
}
