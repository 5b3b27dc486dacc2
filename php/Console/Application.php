<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Application as SymfonyApplication;
use Symfony\Component\Console\Command\Command as SymfonyCommand;
use Symfony\Component\Console\Exception\CommandNotFoundException;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\ConsoleOutputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Framework\Console\Command as ToporiaCommand;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Polyfill\ConsoleCommand;
use Toporia\Realtime\Support\Version;

/**
 * The console application for plain PHP. Has this package's commands, and those listed under `commands` in
 * config/realtime.php.
 */
final class Application extends SymfonyApplication
{
    /** @throws ConfigurationException an entry of `commands` is not a command */
    public function __construct(Host $host)
    {
        $extension = Version::ofExtension();
        $note = match (true) {
            $extension === null => ' (without the extension)',
            !Version::matches() => " (with the extension $extension: install both from one release)",
            default => '',
        };
        parent::__construct('Toporia Realtime', Version::NUMBER . $note);
        $this->setAutoExit(false);
        CommandList::add($this, [...CommandList::of($host), ...$this->ownCommands($host)]);
    }

    /**
     * Like Symfony's, except that an unknown command is wrong usage: exit code 2. A shell sees the lowest eight bits of
     * an exit code, so that 256 would be success.
     */
    public function doRun(InputInterface $input, OutputInterface $output): int
    {
        try {
            return min(255, parent::doRun($input, $output));
        } catch (CommandNotFoundException $e) {
            $this->renderThrowable($e, $output instanceof ConsoleOutputInterface ? $output->getErrorOutput() : $output);

            return Command::WRONG_USAGE;
        }
    }

    /** @return list<SymfonyCommand> */
    private function ownCommands(Host $host): array
    {
        $commands = [];
        foreach ((array) ($host->config()['commands'] ?? []) as $i => $entry) {
            $command = is_string($entry) ? $host->make($entry) : $entry;
            if ($command instanceof ToporiaCommand) {
                $command = new ConsoleCommand($command);
            }
            if (!$command instanceof SymfonyCommand) {
                throw new ConfigurationException(
                    "commands[$i] is " . get_debug_type($command) . '; expected a class that extends '
                    . SymfonyCommand::class . ' or ' . ToporiaCommand::class . '.'
                );
            }
            $commands[] = $command;
        }

        return $commands;
    }
}
