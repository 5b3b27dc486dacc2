<?php

/**
 * Measures situations that the message loops of run.sh do not have.
 *
 *     php tests/bench/scenarios.php --extension=… [--rounds=3] [--only=paced]
 *
 * paced: CPU time of a producer at a fixed rate in five seconds, with acknowledgements that take 10 and 30 ms.
 *
 * Medians of the rounds, with the smallest and largest value.
 */

declare(strict_types=1);

use Toporia\Realtime\Bench\ClientRunner;
use Toporia\Realtime\Bench\Load;
use Toporia\Realtime\Bench\Statistics;

spl_autoload_register(static function (string $class): void {
    require __DIR__ . '/src/' . basename(strtr($class, '\\', '/')) . '.php';
});

/** @var array<string, string> $options */
$options = getopt('', ['extension:', 'rounds:', 'only:']) + ['rounds' => '3', 'only' => 'paced'];
$runner = new ClientRunner($options['extension'] ?? exit("--extension=… is missing.\n"), null, '');
$wanted = static fn (string $part): bool => in_array($part, explode(',', $options['only']), true);

/**
 * Runs a client in every round.
 *
 * @param list<string> $command
 * @param callable(array<int|string, mixed>): array<string, float> $figures of one run, by unit
 */
$row = static function (string $what, array $command, callable $figures) use ($runner, $options): void {
    $all = [];
    for ($round = 0; $round < (int) $options['rounds']; $round++) {
        foreach ($figures($runner->run($command)) as $unit => $value) {
            $all[$unit][] = $value;
        }
    }
    $cells = [];
    foreach ($all as $unit => $values) {
        $cells[] = sprintf('%.2f %s (%.2f to %.2f)', Statistics::median($values), $unit, min($values), max($values));
    }
    printf("%-50s %s\n", $what, implode('   ', $cells));
};

if ($wanted('paced')) {
    foreach ([10, 30] as $latency) {
        $embedded = proc_open(
            $runner->ours('embedded', Load::topic(Load::WRITTEN) . ':1', "latency:$latency"),
            [['pipe', 'r'], ['pipe', 'w']],
            $pipes
        );
        $address = trim((string) fgets($pipes[1]));
        foreach (['500', '5000'] as $rate) {
            $row(
                "$rate messages/s, answers after $latency ms",
                $runner->ours('paced', $address, $rate, '5'),
                static fn (array $run): array => [
                    's of CPU' => $run['cpu_us'] / 1e6,
                    'ms flush p50' => $run['flush_ms'],
                ]
            );
        }
        array_map('fclose', $pipes);
        proc_close($embedded);
    }
}
