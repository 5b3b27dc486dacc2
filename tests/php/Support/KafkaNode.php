<?php

/**
 * A private Kafka node, to be stopped, frozen and killed; and Kafka's own tools to inspect any node.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use RuntimeException;
use Toporia\Realtime\Admin;

final class KafkaNode
{
    private function __construct(private readonly string $name, public readonly string $address)
    {
    }

    /**
     * Starts a node (3 s); stop() it in tearDown(). The next start removes forgotten ones.
     *
     * @param string $properties further properties of the broker, `name=value`
     */
    public static function start(bool $autoCreate = true, string ...$properties): self
    {
        $name = 'phpunit-' . getmypid() . '-' . bin2hex(random_bytes(2));
        $arguments = ['start', "--name=$name", '--owner=' . getmypid()];
        if (!$autoCreate) {
            $arguments[] = '--no-auto-create';
        }
        foreach ($properties as $property) {
            $arguments[] = "--property=$property";
        }

        return new self($name, trim(self::script($arguments)));
    }

    /**
     * The number of records in a topic by Kafka's own offsets (transaction markers count as records).
     *
     * @param string $address any running broker's `host:port`
     */
    public static function count(string $address, string $topic): int
    {
        return (int) self::script(['count', $topic, "--address=$address"]);
    }

    /**
     * Creates a topic on a running broker, unless it exists. Through Admin: Kafka's own tool starts a JVM for each.
     */
    public static function createTopic(string $address, string $topic, int $partitions = 1): void
    {
        $admin = new Admin(['brokers' => $address]);
        try {
            $admin->createTopic($topic, $partitions);
        } finally {
            $admin->close();
        }
    }

    /**
     * Freezes it: it accepts connections and never responds.
     */
    public function pause(): void
    {
        self::script(['pause', "--name=$this->name"]);
    }

    /**
     * Resumes a paused node.
     */
    public function continue(): void
    {
        self::script(['continue', "--name=$this->name"]);
    }

    /**
     * Kills it; its data stays, and restart() starts it again.
     */
    public function kill(): void
    {
        self::script(['kill', "--name=$this->name"]);
    }

    /**
     * Starts it again with the same port and data.
     */
    public function restart(): void
    {
        self::script(['restart', "--name=$this->name"]);
    }

    /**
     * Stops it and removes its data.
     */
    public function stop(): void
    {
        self::script(['stop', "--name=$this->name"]);
    }

    /** @param list<string> $arguments of kafka.sh */
    private static function script(array $arguments): string
    {
        $command = [dirname(__DIR__, 2) . '/support/kafka.sh', ...$arguments];
        $result = (new ChildProcess($command, getenv()))->wait(120.0);
        if ($result->exitCode !== 0) {
            throw new RuntimeException('kafka.sh ' . implode(' ', $arguments) . ' failed: ' . $result->describe());
        }

        return $result->stdout;
    }
}
