<?php

/**
 * Runs the clients of the benchmark, each in a process of its own.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

use RuntimeException;

final class ClientRunner
{
    /**
     * @param string $extension toporia_realtime.so
     * @param string|null $rdkafka php-rdkafka's .so, where it is installed
     * @param string $limit the program of limit.rs
     */
    public function __construct(
        private string $extension,
        public readonly ?string $rdkafka,
        private string $limit
    ) {
    }

    /**
     * The command of a client with the extension; `-n` excludes the machine's other extensions.
     *
     * @return list<string>
     */
    public function ours(string $client, string ...$arguments): array
    {
        return $this->php(['-d', 'extension=' . $this->extension], $client, $arguments);
    }

    /**
     * The command of a client with php-rdkafka.
     *
     * @return list<string>
     */
    public function rdkafka(string $client, string ...$arguments): array
    {
        return $this->php(['-d', 'extension=' . $this->rdkafka], $client, $arguments);
    }

    /**
     * The command of a client with neither.
     *
     * @return list<string>
     */
    public function plain(string $client, string ...$arguments): array
    {
        return $this->php([], $client, $arguments);
    }

    /**
     * @return list<string>
     */
    public function limit(string ...$arguments): array
    {
        return [$this->limit, ...array_values($arguments)];
    }

    /**
     * The command line of the extension's console.
     *
     * @return list<string>
     */
    public function console(string ...$arguments): array
    {
        return [
            PHP_BINARY,
            '-d',
            'extension=' . $this->extension,
            dirname(__DIR__, 3) . '/console',
            ...array_values($arguments),
        ];
    }

    /**
     * The compared versions, for the head of the table.
     */
    public function peers(): string
    {
        if ($this->rdkafka === null) {
            return "php-rdkafka is not installed here: its rows are left out.\n";
        }
        $code = 'echo json_encode([phpversion("rdkafka"), RD_KAFKA_BUILD_VERSION >> 24, '
            . 'RD_KAFKA_BUILD_VERSION >> 16 & 255, RD_KAFKA_BUILD_VERSION >> 8 & 255]);';
        [$version, $major, $minor, $patch] =
            $this->run([PHP_BINARY, '-n', '-d', 'extension=' . $this->rdkafka, '-r', $code]);

        return "php-rdkafka $version, built with librdkafka $major.$minor.$patch, with the same settings.\n";
    }

    /**
     * Runs a command to its end.
     *
     * @param list<string> $command
     *
     * @return array<int|string, mixed> the JSON it prints last
     */
    public function run(array $command): array
    {
        $process = proc_open($command, [1 => ['pipe', 'w'], 2 => ['pipe', 'w']], $pipes);
        if (!is_resource($process)) {
            throw new RuntimeException('Cannot start: ' . implode(' ', $command));
        }
        $output = (string) stream_get_contents($pipes[1]);
        $errors = (string) stream_get_contents($pipes[2]);
        $code = proc_close($process);
        $lines = explode("\n", trim($output));
        $answer = json_decode(end($lines), true);
        if ($code !== 0 || !is_array($answer)) {
            throw new RuntimeException(sprintf(
                "This client of the benchmark failed with exit code %d: %s\n%s%s",
                $code,
                implode(' ', $command),
                $output,
                $errors
            ));
        }

        return $answer;
    }

    /**
     * Runs a command without output, and returns its duration measured from outside, in ms.
     *
     * @param list<string> $command
     */
    public function time(array $command): float
    {
        $start = hrtime(true);
        $process = proc_open($command, [1 => ['file', '/dev/null', 'w']], $pipes);
        if (!is_resource($process) || proc_close($process) !== 0) {
            throw new RuntimeException('This failed: ' . implode(' ', $command));
        }

        return (hrtime(true) - $start) / 1e6;
    }

    /**
     * @param list<string> $options
     * @param array<string> $arguments
     *
     * @return list<string>
     */
    private function php(array $options, string $client, array $arguments): array
    {
        return [PHP_BINARY, '-n', ...$options, dirname(__DIR__) . "/client/$client.php", ...array_values($arguments)];
    }
}
