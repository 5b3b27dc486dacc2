<?php

/**
 * Reads a topic to its end with Kafka's own console consumer, as a read_committed consumer.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

use RuntimeException;
use Toporia\Realtime\Broker;

final class Reader
{
    /** Key of the last record of a partition: an open transaction before it hides it. */
    private const END = 'the-end';
    private const LINE =
        '/\ACreateTime:(\d+)\tPartition:(\d+)\tOffset:(\d+)\t(.*)\t([^\t]*)\t([^\t]*)\z/';

    public function __construct(private readonly Cluster $cluster, private readonly string $directory)
    {
    }

    /**
     * Every record of the topic, by partition and in order.
     *
     * @param callable(int, int, string, string|null, string): void $record partition, offset,
     *     timestamp and headers, key, value
     * @param float $timeout seconds until it must have ended
     *
     * @throws RuntimeException the end of a partition cannot be seen: something before it is undecided
     */
    public function read(string $topic, int $partitions, callable $record, float $timeout = 120.0): void
    {
        $this->markEnds($topic, $partitions);
        $errors = ['file', "$this->directory/reader.log", 'a'];
        $process = proc_open($this->cluster->reader($topic), [1 => ['pipe', 'w'], 2 => $errors], $pipes);
        if ($process === false) {
            throw new RuntimeException("Cannot start Kafka's console consumer.");
        }
        $ended = [];
        $deadline = microtime(true) + $timeout;
        $rest = '';
        stream_set_blocking($pipes[1], false);
        while (count($ended) < $partitions && microtime(true) < $deadline && !feof($pipes[1])) {
            $readable = [$pipes[1]];
            $none = null;
            @stream_select($readable, $none, $none, 1);
            $lines = explode("\n", $rest . fread($pipes[1], 1 << 18));
            $rest = array_pop($lines);
            foreach ($lines as $line) {
                if (!preg_match(self::LINE, $line, $match)) {
                    throw new RuntimeException("Kafka's console consumer prints what is not a record: $line");
                }
                [, $timestamp, $partition, $offset, $headers, $key, $value] = $match;
                if ($key === self::END) {
                    $ended[$partition] = true;
                } elseif (!isset($ended[$partition])) {
                    $headers = "timestamp:$timestamp,$headers";
                    $record((int) $partition, (int) $offset, $headers, $key === 'null' ? null : $key, $value);
                }
            }
        }
        proc_terminate($process, SIGKILL);
        fclose($pipes[1]);
        proc_close($process);
        if (count($ended) < $partitions) {
            throw new RuntimeException(sprintf(
                'Within %.0f s only %d of the %d partitions of %s showed their end to a reader of committed results.',
                $timeout,
                count($ended),
                $partitions,
                $topic
            ));
        }
    }

    private function markEnds(string $topic, int $partitions): void
    {
        $broker = new Broker(['brokers' => $this->cluster->address]);
        for ($partition = 0; $partition < $partitions; $partition++) {
            $broker->send($topic, 'end', self::END, [], $partition);
        }
        $broker->close();
    }
}
