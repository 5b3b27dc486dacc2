<?php

/**
 * Calls every public method of the native classes with hostile arguments: wrong types, keys that are not UTF-8, references,
 * recursion, huge numbers, objects that throw. A call may throw what it likes, but never a Rust panic, and never crash.
 *
 *   php tests/fuzz/public-api.php --extension=target/release/libtoporia_realtime.so --seconds=3600 [--seed=1]
 *
 * Runs workers one after the other, each with a seed of its own; prints the seed and the last call of one that fails.
 */

declare(strict_types=1);

use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Message;
use Toporia\Realtime\Metrics;
use Toporia\Realtime\Realtime;

$options = getopt('', ['extension:', 'seconds:', 'seed:', 'calls:', 'worker', 'journal:']);
$seed = (int) ($options['seed'] ?? 1);

if (!isset($options['worker'])) {
    $until = microtime(true) + (float) ($options['seconds'] ?? 60);
    $journal = (string) tempnam(sys_get_temp_dir(), 'realtime-fuzz-');
    for ($workers = $calls = 0; $workers === 0 || microtime(true) < $until; $workers++) {
        $command = [
            PHP_BINARY, '-d', 'extension=' . $options['extension'], '-d', 'memory_limit=512M', '-d', 'error_log=/dev/null', '-d',
            'display_errors=stderr', __FILE__, '--worker', '--seed=' . ($seed + $workers), '--calls=' . ($options['calls'] ?? 2000),
            "--journal=$journal",
        ];
        $process = proc_open($command, [1 => STDOUT, 2 => ['file', "$journal.err", 'w']], $pipes);
        $code = proc_close($process);
        if ($code !== 0) {
            echo 'Failed with exit code ', $code, ', seed ', $seed + $workers, ' at call: ', file_get_contents($journal), "\n",
                substr((string) file_get_contents("$journal.err"), -2000), "\n";
            exit(1);
        }
        // The journal begins with the number of the last call.
        $calls += (int) file_get_contents($journal) + 1;
    }
    @unlink($journal);
    @unlink("$journal.err");
    echo "$calls calls by $workers workers, no panic, no crash.\n";
    exit(0);
}

mt_srand($seed);
pcntl_async_signals(true);
// A call that waits is ended by an exception of a signal handler.
pcntl_signal(SIGALRM, static function (): void {
    throw new RuntimeException('too long');
});

final class Hostile
{
    /** @var list<mixed> */
    private array $kept = [];

    public function value(int $depth = 0): mixed
    {
        $scalars = [
            null, true, false, 0, -1, 1, 7, PHP_INT_MAX, PHP_INT_MIN, 2 ** 31, 2 ** 32, 1.5, NAN, INF, -INF, 1e300, '', '0', 'a',
            'user.1', 'user.*', 'user.**', '*', '..', "\0", "\xFF", "a\xC3", str_repeat('x', 300), str_repeat("\xFE", 70_000),
            'dlq.a', '127.0.0.1:1', 'embedded', 'beginning', 'end', 'strlen', 'no such function', 'Hostile::never', "\u{1F600}",
            '1.2', 'private-a', 'presence-a', 'private-encrypted-a', 'channel', 'broadcast', '2000K', '{"id":"1"}', '{', 'null',
        ];
        $pick = mt_rand(0, $depth > 3 ? 5 : 13);

        return match (true) {
            $pick <= 5 => $scalars[array_rand($scalars)],
            $pick <= 7 => $this->array($depth),
            $pick === 8 => $this->recursive(),
            $pick === 9 => $this->object(),
            $pick === 10 => static fn (mixed ...$a): mixed => $a[0] ?? null,
            $pick === 11 => static function (mixed ...$a): never {
                throw mt_rand(0, 1) ? new Error("hostile \xFF") : new LogicException('hostile');
            },
            $pick === 12 => Message::event('user.1', 'e', [1, 'two' => 3])->withKey("\xFF"),
            default => mt_rand(0, 1) ? fopen('php://memory', 'r') : $this->message(),
        };
    }

    /** @return array<mixed> */
    private function array(int $depth): array
    {
        $keys = [
            0, 1, 2, -5, PHP_INT_MAX, PHP_INT_MIN, 'a', "\xFF", "\xC3\x28", '', "\0x", 'channel', 'event', 'data', 'id', 'type',
            'timestamp', 'brokers', 'default_broker', 'topic_prefix', 'consumer_group', 'producer_config', 'spool', 'logger', 'tracing',
            'gateway', 'user_id', 'user_info', 'user', 'socket', 'x-realtime-hops', 'x-attempts', 'x-own', 'delivery', 'log',
        ];
        $array = [];
        for ($count = mt_rand(0, 6); $count > 0; $count--) {
            $value = $this->value($depth + 1);
            if (mt_rand(0, 3) === 0 && !array_key_exists(PHP_INT_MAX, $array)) {
                $array[] = $value;
            } elseif (mt_rand(0, 3) === 0) {
                $this->kept[] = $value;
                $array[$keys[array_rand($keys)]] = &$this->kept[array_key_last($this->kept)];
            } else {
                $array[$keys[array_rand($keys)]] = $value;
            }
        }
        if (mt_rand(0, 4) === 0) {
            unset($array[array_key_first($array) ?? 0]);
        }

        return $array;
    }

    /** @return array<mixed> */
    private function recursive(): array
    {
        $array = ['a' => 1, "\xFF" => 2];
        $array['self'] = &$array;

        return $array;
    }

    private function object(): object
    {
        return match (mt_rand(0, 6)) {
            0 => new stdClass(),
            1 => new class () {
                public function __toString(): string
                {
                    return mt_rand(0, 1) ? "text \xFF" : throw new LogicException('no text');
                }
            },
            2 => new class () implements JsonSerializable {
                public function jsonSerialize(): mixed
                {
                    return mt_rand(0, 1) ? $this : throw new LogicException('no JSON');
                }
            },
            3 => new ArrayObject(["\xFF" => 1]),
            4 => new DateTimeImmutable('@' . mt_rand(-10, 2_000_000_000)),
            5 => new Exception\BatchException(mt_rand(-2, 5), new Error('cause')),
            default => (static function () {
                yield 1;
            })(),
        };
    }

    private function message(): Message
    {
        $all = [
            static fn () => Message::event(null, "e\0"),
            static fn () => Message::fromArray(['channel' => '..', 'event' => '', 'data' => []]),
            static fn () => Message::fromJson('{"channel":"user.1"}'),
        ];

        return $all[array_rand($all)]();
    }
}

$hostile = new Hostile();
$objects = static function (): array {
    // A call may have changed the configuration.
    Realtime::configure(['default_broker' => 'k', 'brokers' => ['k' => ['brokers' => 'embedded', 'queue_full_ms' => 1]]]);

    return [
        Broker::class => new Broker(['brokers' => 'embedded', 'queue_full_ms' => 1]),
        Admin::class => new Admin(['brokers' => 'embedded']),
        Message::class => Message::event('user.1', 'e', [1]),
        Gateway::class => new Gateway(['app_id' => 'a', 'key' => 'k', 'secret' => 's', 'port' => 0]),
        EmbeddedBroker::class => EmbeddedBroker::shared(),
        Exception\BatchException::class => new Exception\BatchException(1),
        Exception\DeliveryException::class => new Exception\DeliveryException(),
    ];
};
$methods = [];
foreach ([Realtime::class, Broker::class, Admin::class, Message::class, Gateway::class, EmbeddedBroker::class, Metrics::class,
    Exception\BatchException::class, Exception\DeliveryException::class] as $class) {
    foreach ((new ReflectionClass($class))->getMethods(ReflectionMethod::IS_PUBLIC) as $method) {
        // A started gateway or metrics port serves until the process ends; a stopped embedded broker leaves nothing to talk to.
        $isKept = in_array([$class, $method->name], [
            [Gateway::class, 'start'], [Gateway::class, 'run'], [Metrics::class, 'serve'], [Metrics::class, 'heartbeat'],
            [EmbeddedBroker::class, 'stop'], [EmbeddedBroker::class, 'down'], [EmbeddedBroker::class, 'start'],
            [EmbeddedBroker::class, 'setLatency'], [EmbeddedBroker::class, 'failNext'], [EmbeddedBroker::class, 'failTopic'],
        ], true);
        if (!$isKept && !$method->isFinal()) {
            $methods[] = $method;
        }
    }
}
$journal = fopen($options['journal'] ?? 'php://memory', 'w');
set_error_handler(static fn () => true);
$live = $objects();
$until = microtime(true) + 20;
for ($call = 0; $call < (int) ($options['calls'] ?? 2000) && microtime(true) < $until; $call++) {
    if ($call % 50 === 49) {
        $live = $objects();
    }
    $method = $methods[array_rand($methods)];
    $arguments = [];
    $count = mt_rand(0, 3) === 0 ? mt_rand(0, 7) : $method->getNumberOfParameters();
    for ($i = 0; $i < $count; $i++) {
        $arguments[] = $hostile->value();
    }
    ftruncate($journal, 0);
    rewind($journal);
    fwrite($journal, "$call $method->class::$method->name(" . implode(', ', array_map(get_debug_type(...), $arguments)) . ')');
    fflush($journal);
    pcntl_alarm(1);
    try {
        $object = $method->isStatic() ? null : ($live[$method->class] ?? throw new LogicException("no object of $method->class"));
        if ($method->isConstructor()) {
            (new ReflectionClass($method->class))->newInstanceArgs($arguments);
        } else {
            $method->invokeArgs($object, $arguments);
        }
    } catch (Throwable $e) {
        if (stripos($e->getMessage(), 'panic') !== false) {
            fwrite(STDERR, $e::class . ': ' . $e->getMessage() . "\n");
            exit(3);
        }
    } finally {
        try {
            pcntl_alarm(0);
        } catch (RuntimeException) {
            // The alarm came just before it was taken back.
        }
    }
}
Realtime::restore();
exit(0);
