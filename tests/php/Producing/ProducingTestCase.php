<?php

/**
 * Base of the producing tests: unreachable brokers, the contents of a topic, and the messages of exceptions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Socket;
use Throwable;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;

abstract class ProducingTestCase extends BrokerTestCase
{
    /** @var list<Socket> */
    private array $reserved = [];
    /** @var list<string> */
    private array $directories = [];
    /** @var list<ChildProcess> */
    private array $processes = [];

    protected function tearDown(): void
    {
        parent::tearDown();
        foreach ($this->processes as $process) {
            $process->destroy();
        }
        $this->processes = [];
        array_map('socket_close', $this->reserved);
        $this->reserved = [];
        foreach ($this->directories as $directory) {
            self::removeDirectory($directory);
        }
        $this->directories = [];
    }

    /**
     * `host:port` without a listener, reserved for the duration of this test.
     */
    protected function deadAddress(): string
    {
        return $this->reserve(false);
    }

    /**
     * `host:port` that accepts connections and never responds.
     */
    protected function silentAddress(): string
    {
        return $this->reserve(true);
    }

    /**
     * Starts a program that is stopped at the end of this test.
     *
     * @param list<string> $command
     * @param array<string, string> $env the whole environment
     */
    protected function start(array $command, array $env): ChildProcess
    {
        return $this->processes[] = new ChildProcess($command, $env);
    }

    /**
     * The extension under test, for programs other than this PHP binary.
     */
    protected static function extension(): string
    {
        return getenv('REALTIME_EXTENSION') ?: self::root() . '/target/release/libtoporia_realtime.so';
    }

    private function reserve(bool $listening): string
    {
        $socket = socket_create(AF_INET, SOCK_STREAM, SOL_TCP);
        self::assertInstanceOf(Socket::class, $socket);
        self::assertTrue(socket_bind($socket, '127.0.0.1'));
        if ($listening) {
            self::assertTrue(socket_listen($socket, 16));
        }
        socket_getsockname($socket, $host, $port);
        $this->reserved[] = $socket;

        return "$host:$port";
    }

    /**
     * An empty directory of this test, removed at its end.
     */
    protected function directory(): string
    {
        $directory = sys_get_temp_dir() . "/realtime-test-$this->prefix-" . count($this->directories);
        mkdir($directory, 0700);

        return $this->directories[] = $directory;
    }

    protected static function removeDirectory(string $directory): void
    {
        foreach (array_diff(scandir($directory) ?: [], ['.', '..']) as $name) {
            $path = "$directory/$name";
            is_dir($path) && !is_link($path) ? self::removeDirectory($path) : unlink($path);
        }
        rmdir($directory);
    }

    /**
     * The message of the exception that the call throws, which must be of exactly that class.
     *
     * @param class-string<Throwable> $class
     */
    protected static function thrown(string $class, callable $call): string
    {
        return self::catch($class, $call)->getMessage();
    }

    /**
     * The exception that the call throws, which must be of exactly that class.
     *
     * @template T of Throwable
     *
     * @param class-string<T> $class
     *
     * @return T
     */
    protected static function catch(string $class, callable $call): Throwable
    {
        try {
            $call();
        } catch (Throwable $e) {
            self::assertSame($class, get_class($e), $e->getMessage());

            return $e;
        }
        self::fail("$class was not thrown");
    }

    /**
     * Milliseconds the call takes.
     */
    protected static function time(callable $call): float
    {
        $start = hrtime(true);
        $call();

        return (hrtime(true) - $start) / 1e6;
    }

    /**
     * The envelopes in a channel's topic, decoded; waits until there are this many.
     *
     * @return list<array<string, mixed>>
     */
    protected function envelopes(string $channel, int $atLeast = 1): array
    {
        return array_map(
            static fn (string $payload) => (array) json_decode($payload, true, 512, JSON_THROW_ON_ERROR),
            $this->payloads($this->channelTopic($channel), $atLeast)
        );
    }

    /**
     * The values in a topic; waits until there are this many.
     *
     * @return list<string>
     */
    protected function payloads(string $topic, int $atLeast = 1): array
    {
        return array_map(
            static fn (Message $message) => (string) $message->getPayload(),
            $this->consumeAll($topic, $atLeast)
        );
    }

    /**
     * The only record in a topic.
     */
    protected function only(string $topic): Message
    {
        $messages = $this->consumeAll($topic, 1);
        self::assertCount(1, $messages);

        return $messages[0];
    }

    /**
     * Configures this process with settings other than config()'s, as the default broker.
     *
     * @param array<string, mixed> $config
     */
    protected function configure(array $config): void
    {
        Realtime::configure(['brokers' => ['kafka' => $this->config($config)]]);
    }

    /**
     * murmur2 as in Java's and KafkaJS's producers, for a list of partitions of that length.
     */
    protected static function partitionOf(string $key, int $partitions): int
    {
        $length = strlen($key);
        $mix = static function (int $k): int {
            $k = ($k * 0x5bd1e995) & 0xffffffff;
            $k ^= $k >> 24;

            return ($k * 0x5bd1e995) & 0xffffffff;
        };
        $hash = 0x9747b28c ^ $length;
        foreach (unpack('V*', substr($key, 0, $length - $length % 4)) ?: [] as $word) {
            $hash = (($hash * 0x5bd1e995) & 0xffffffff) ^ $mix($word);
        }
        $rest = substr($key, $length - $length % 4);
        if ($rest !== '') {
            foreach (str_split($rest) as $i => $byte) {
                $hash ^= ord($byte) << (8 * $i);
            }
            $hash = ($hash * 0x5bd1e995) & 0xffffffff;
        }
        $hash ^= $hash >> 13;
        $hash = ($hash * 0x5bd1e995) & 0xffffffff;
        $hash ^= $hash >> 15;

        return ($hash & 0x7fffffff) % $partitions;
    }
}
