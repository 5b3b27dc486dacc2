<?php

declare(strict_types=1);

namespace Toporia\Realtime\Polyfill;

use Symfony\Component\Console\Command\Command as SymfonyCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Framework\Console\Command as ToporiaCommand;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Runs a command written for Toporia in ./console. Symfony parses the command line by the signature; the command uses
 * its own methods.
 */
final class ConsoleCommand extends SymfonyCommand
{
    private Signature $signature;

    /** @throws ConfigurationException the signature has no name */
    public function __construct(private ToporiaCommand $command)
    {
        $this->signature = Signature::parse($command->getSignature());
        parent::__construct($this->signature->name);
        $this->setDescription($command->getDescription());
    }

    protected function configure(): void
    {
        foreach ($this->signature->arguments as $name => $argument) {
            $this->addArgument(
                $name,
                ($argument['required'] ? InputArgument::REQUIRED : InputArgument::OPTIONAL)
                    | ($argument['list'] ? InputArgument::IS_ARRAY : 0),
                $argument['help'],
                $argument['required'] || $argument['list'] ? null : $argument['default']
            );
        }
        foreach ($this->signature->options as $name => $option) {
            $mode = match (true) {
                $option['list'] => InputOption::VALUE_REQUIRED | InputOption::VALUE_IS_ARRAY,
                $option['value'] => InputOption::VALUE_REQUIRED,
                default => InputOption::VALUE_NONE,
            };
            $this->addOption(
                $name,
                $option['short'],
                $mode,
                $option['help'],
                $option['value'] && !$option['list'] ? $option['default'] : null
            );
        }
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $this->command->setInput(new CommandInput($this->signature, $input->getOptions(), $input->getArguments()));
        $this->command->setOutput($output);

        return $this->command->handle();
    }
}
