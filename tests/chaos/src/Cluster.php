<?php

/**
 * The Kafka under test, and the output of Kafka's own tools: the checker does not rely on the extension.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

use RuntimeException;

final class Cluster
{
    public readonly string $address;
    /** The number of nodes. */
    public readonly int $nodes;
    private ?int $away = null;
    private float $returns = 0.0;
    private ?Process $returning = null;
    private ?Process $asked = null;
    private float $asksAt = 0.0;

    /** @param string $name of a cluster that runs (tests/support/cluster.sh) */
    public function __construct(private readonly string $name, private readonly string $directory)
    {
        $this->address = $this->script('cluster.sh', ['address', "--name=$name"]);
        $this->nodes = substr_count($this->address, ',') + 1;
    }

    /**
     * Creates topics, with the replication of the cluster.
     *
     * @param array<string, int> $topics name => partitions
     */
    public function createTopics(array $topics): void
    {
        foreach ($topics as $topic => $partitions) {
            $this->tool('TopicCommand', ['--create', '--topic', $topic, '--partitions', (string) $partitions]);
        }
    }

    /**
     * Partitions of the topics with this prefix.
     *
     * @return array<string, int>
     */
    public function topics(string $beginning): array
    {
        $partitions = [];
        $listing = $this->tool('TopicCommand', ['--describe', '--topic', ".*$beginning.*"]);
        preg_match_all('/^Topic: (\S+)\s.*PartitionCount: (\d+)/m', $listing, $matches, PREG_SET_ORDER);
        foreach ($matches as [, $topic, $count]) {
            $partitions[$topic] = (int) $count;
        }

        return $partitions;
    }

    /**
     * Records that a group has not committed, as Kafka counts them; null if it cannot tell at the moment.
     *
     * @return array<string, int>|null "topic-partition" => records, where there are any
     */
    public function lag(string $group): ?array
    {
        try {
            $text = $this->tool('consumer.group.ConsumerGroupCommand', ['--group', $group, '--describe']);
        } catch (RuntimeException) {
            return null;
        }
        $lag = [];
        $row = '/^' . preg_quote($group, '/') . '\s+(\S+)\s+(\d+)\s+(\d+|-)\s+(\d+)\s/m';
        if (preg_match_all($row, $text, $rows, PREG_SET_ORDER) === 0) {
            return null;
        }
        foreach ($rows as [, $topic, $partition, $committed, $end]) {
            $lag["$topic-$partition"] = (int) $end - (int) $committed;
        }

        return array_filter($lag);
    }

    /**
     * Kills a node and restarts it after this many seconds. False if a node is down, or has not caught up yet.
     */
    public function kill(int $node, float $seconds): bool
    {
        if (!$this->isInSync()) {
            return false;
        }
        $this->away = $node;
        $this->returns = microtime(true) + $seconds;
        $this->script('cluster.sh', ['kill', (string) $node, "--name=$this->name"]);

        return true;
    }

    /** Kills all nodes at once. */
    public function killAll(): void
    {
        $this->script('cluster.sh', ['kill', 'all', "--name=$this->name"]);
    }

    public function startAll(): void
    {
        $this->script('cluster.sh', ['back', 'all', "--name=$this->name"]);
    }

    /** True if all nodes are up and in sync. */
    public function isInSync(): bool
    {
        return $this->away === null;
    }

    /** Restarts a node when it is due, and records when it has caught up. Call it often. */
    public function tick(): void
    {
        if ($this->away === null || microtime(true) < $this->returns) {
            return;
        }
        $this->returning ??= $this->background(['back', (string) $this->away, "--name=$this->name"]);
        if ($this->returning->isRunning() || microtime(true) < $this->asksAt) {
            return;
        }
        $this->asked ??= $this->background(['behind', "--name=$this->name"]);
        if ($this->asked->isRunning()) {
            return;
        }
        if ($this->asked->output(1) === '0') {
            $this->away = $this->returning = null;
        }
        $this->asked = null;
        $this->asksAt = microtime(true) + 1.0;
    }

    /**
     * The command that prints every record of a topic as `partition, offset, headers, key, value`, separated by tabs,
     * and no record of an aborted transaction.
     *
     * @return list<string>
     */
    public function reader(string $topic): array
    {
        $command = [...self::java(), 'org.apache.kafka.tools.consumer.ConsoleConsumer',
            '--bootstrap-server', $this->address, '--topic', $topic, '--from-beginning',
            '--isolation-level', 'read_committed', '--formatter-property', "key.separator=\t"];
        foreach (['timestamp', 'partition', 'offset', 'headers', 'key', 'value'] as $what) {
            array_push($command, '--formatter-property', "print.$what=true");
        }

        return $command;
    }

    /** @param list<string> $arguments */
    private function tool(string $class, array $arguments): string
    {
        $command = [...self::java(), "org.apache.kafka.tools.$class", '--bootstrap-server', $this->address];

        return $this->run([...$command, ...$arguments]);
    }

    /** @param list<string> $arguments */
    private function script(string $script, array $arguments): string
    {
        return $this->run([self::support($script), ...$arguments]);
    }

    /** @param list<string> $command */
    private function run(array $command): string
    {
        $process = proc_open($command, [1 => ['pipe', 'w'], 2 => ['file', "$this->directory/tools.log", 'a']], $pipes);
        if ($process === false) {
            throw new RuntimeException('Cannot start: ' . implode(' ', $command));
        }
        $output = stream_get_contents($pipes[1]);
        if (proc_close($process) !== 0) {
            throw new RuntimeException(
                'This failed (see ' . $this->directory . '/tools.log): ' . implode(' ', $command) . "\n$output"
            );
        }

        return trim((string) $output);
    }

    /** @param list<string> $arguments of cluster.sh */
    private function background(array $arguments): Process
    {
        $log = "$this->directory/cluster-$arguments[0].log";
        file_put_contents($log, '');

        return new Process([self::support('cluster.sh'), ...$arguments], $log);
    }

    /** @return list<string> */
    private static function java(): array
    {
        return ['java', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1',
            '-Dorg.slf4j.simpleLogger.defaultLogLevel=error', '-cp', dirname(__DIR__, 3) . '/build/kafka/lib/*'];
    }

    private static function support(string $script): string
    {
        return dirname(__DIR__, 2) . "/support/$script";
    }
}
