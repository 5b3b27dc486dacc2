<?php

/**
 * (c) and (e): the overhead of one message in a script and in a request, and the time until the command handles its
 * first record.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

use RuntimeException;

final class Latency
{
    public function __construct(private ClientRunner $runner, private Table $table, private int $runs)
    {
    }

    /**
     * A script in a process of its own with one broadcast and without, in turn; and a request in a running worker.
     */
    public function broadcast(string $brokers, string $at): void
    {
        $with = $without = [];
        for ($run = 0; $run < $this->runs; $run++) {
            $without[] = $this->runner->time($this->runner->ours('script', $brokers, 'none'));
            $with[] = $this->runner->time($this->runner->ours('script', $brokers, 'broadcast'));
        }
        $warm = $this->runner->run($this->runner->ours('requests', $brokers, (string) $this->runs));
        $this->table->section("(c) One broadcast with its flush, $at", ['p50', 'p99']);
        $this->row('request of a running worker: adds', $warm);
        $this->row('script, new process: without', $without);
        $this->row('script, new process: with', $with);
        $this->table->row('script, new process: adds', [
            self::ms(Statistics::median($with) - Statistics::median($without)),
            self::ms(Statistics::percentile($with, 99) - Statistics::percentile($without, 99)),
        ]);
    }

    /**
     * From the start of `./console realtime:kafka:consume` to the first record on its output.
     */
    public function firstRecord(string $brokers, string $at, int $runs): void
    {
        $took = [];
        for ($run = 0; $run < $runs; $run++) {
            $took[] = $this->start($brokers);
        }
        $this->table->section("(e) Command's start to its first record, $at", ['p50', 'longest']);
        $this->table->row('realtime:kafka:consume', [self::ms(Statistics::median($took)), self::ms(max($took))]);
    }

    private function start(string $brokers): float
    {
        $command = $this->runner->console(
            'realtime:kafka:consume',
            '--channels=' . Load::CHANNEL,
            '--group=bench-' . bin2hex(random_bytes(6)),
            '--max-messages=1',
            '--max-time=30',
            '--json'
        );
        $environment = ['KAFKA_BROKERS' => $brokers, 'KAFKA_TOPIC_PREFIX' => Load::READ] + getenv();
        $start = hrtime(true);
        // In a directory without a configuration: records without a handler are printed.
        $process = proc_open($command, [1 => ['pipe', 'w']], $pipes, sys_get_temp_dir(), $environment);
        if (!is_resource($process)) {
            throw new RuntimeException('Cannot start: ' . implode(' ', $command));
        }
        $took = null;
        $output = '';
        while (($line = fgets($pipes[1])) !== false) {
            $output .= $line;
            if ($took === null && str_starts_with($line, '{"type":"message"')) {
                $took = (hrtime(true) - $start) / 1e6;
            }
        }
        if (proc_close($process) !== 0 || $took === null) {
            throw new RuntimeException("The command did not handle a record:\n$output");
        }

        return $took;
    }

    /**
     * @param non-empty-list<float> $took
     */
    private function row(string $name, array $took): void
    {
        $this->table->row($name, [self::ms(Statistics::median($took)), self::ms(Statistics::percentile($took, 99))]);
    }

    private static function ms(float $ms): string
    {
        return sprintf('%.2f ms', $ms);
    }
}
