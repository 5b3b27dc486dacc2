<?php

/**
 * (d): resident memory while many messages are written and read by one process.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

final class Memory
{
    public function __construct(private ClientRunner $runner, private Table $table)
    {
    }

    public function run(string $brokers, string $at, int $messages): void
    {
        $title = sprintf('(d) Memory over %s messages each way, %s', number_format($messages), $at);
        $this->table->section($title, ['after 10 %', 'after 50 %', 'at the end']);
        foreach (['broadcast()' => 'write', 'consume()' => 'read'] as $name => $what) {
            $memory = $this->runner->run($this->runner->ours('memory', $brokers, (string) $messages, $what));
            $this->table->row($name, [self::mb($memory[0]), self::mb($memory[4]), self::mb($memory[9])]);
        }
    }

    private static function mb(int $kilobytes): string
    {
        return sprintf('%.1f MB', $kilobytes / 1024);
    }
}
