<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use ReflectionClass;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\ArgvInput;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\BufferedOutput;
use Symfony\Component\Console\Output\ConsoleOutput;
use Toporia\Framework\Console\Command;
use Toporia\Realtime\Console\Application;
use Toporia\Realtime\Console\CommandList;

/**
 * Adapts one of this package's commands to Toporia's console. Uses the original command line: the framework's parser
 * only keeps the last of repeated options, converts digits to numbers, and does not support `--option value`.
 */
abstract class BridgedCommand extends Command
{
    /** Read only when it is shown: the older generation creates every command each time its console starts. */
    public function getDescription(): string
    {
        $class = new ReflectionClass(CommandList::CLASSES[$this->getName()]);

        return $class->getAttributes(AsCommand::class)[0]->getArguments()[1];
    }

    public function handle(): int
    {
        $application = new Application(ToporiaHost::current());
        $argv = $_SERVER['argv'] ?? [];
        if (($argv[1] ?? null) === $this->getName()) {
            return $application->run(new ArgvInput($argv), new ConsoleOutput());
        }
        // Called by another command: write to that command's output.
        $output = new BufferedOutput();
        try {
            return $application->run($this->typedInput(), $output);
        } finally {
            $this->write($output->fetch());
        }
    }

    /** Rebuilds a command line from the framework's input. */
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
