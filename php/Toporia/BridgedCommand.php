<?php

/**
 * A command of ours as Toporia's console knows commands.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Symfony\Component\Console\Input\ArgvInput;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\BufferedOutput;
use Symfony\Component\Console\Output\ConsoleOutput;
use Toporia\Framework\Console\Command;
use Toporia\Realtime\Console\Application;

/**
 * Takes the command line as it was typed: the framework's parser would keep the last of repeated options only, make
 * numbers of digits, and not know `--option value`.
 */
abstract class BridgedCommand extends Command
{
    public function handle(): int
    {
        $application = new Application(ToporiaHost::current());
        $argv = $_SERVER['argv'] ?? [];
        if (($argv[1] ?? null) === $this->getName()) {
            return $application->run(new ArgvInput($argv), new ConsoleOutput());
        }
        // Called by another command: its output is where this one's belongs.
        $output = new BufferedOutput();
        try {
            return $application->run($this->typedInput(), $output);
        } finally {
            $this->write($output->fetch());
        }
    }

    /** The values of the framework's input as a command line again. */
    private function typedInput(): InputInterface
    {
        $line = ['console', $this->getName()];
        if ($this->input !== null) {
            foreach ($this->input->getArguments() as $value) {
                $line[] = (string) $value;
            }
            foreach ($this->input->getOptions() as $name => $value) {
                if ($value !== false && $value !== null) {
                    $line[] = $value === true ? "--$name" : "--$name=$value";
                }
            }
        }

        return new ArgvInput($line);
    }
}
