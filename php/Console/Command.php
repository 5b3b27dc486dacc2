<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Command\Command as SymfonyCommand;
use Symfony\Component\Console\Exception\ExceptionInterface;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\ConsoleOutputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * Base class of this package's commands: exit codes and error output. Exit codes are the same in every host: 0 done, 1
 * failed while running, 2 wrong usage or configuration.
 */
abstract class Command extends SymfonyCommand
{
    public const DONE = 0;
    public const FAILED = 1;
    public const WRONG_USAGE = 2;

    public function __construct(protected Host $host)
    {
        parent::__construct();
    }

    /** Runs the command and maps exceptions to exit codes; Symfony would return 1 for wrong usage. */
    public function run(InputInterface $input, OutputInterface $output): int
    {
        try {
            return parent::run($input, $output);
        } catch (UsageError | ExceptionInterface $e) {
            $this->printError($output, $e);
            $this->write($this->errors($output), "Usage: {$this->getName()} --help shows every option.");

            return self::WRONG_USAGE;
        } catch (ConfigurationException | InvalidChannelException $e) {
            $this->printError($output, $e);

            return self::WRONG_USAGE;
        } catch (RealtimeException $e) {
            $this->printError($output, $e);

            return self::FAILED;
        }
    }

    /**
     * Returns the named broker; the same in every host.
     *
     * @param array<string, mixed> $settings overrides of its configuration
     *
     * @throws ConfigurationException an unknown name
     */
    protected function broker(string $name, array $settings = []): Broker
    {
        return $settings === [] ? Realtime::broker($name) : new Broker(['broker' => $name] + $settings);
    }

    /** @param iterable<string>|string $lines */
    protected function write(OutputInterface $output, iterable|string $lines): void
    {
        $output->writeln($lines, OutputInterface::OUTPUT_RAW);
    }

    /**
     * Writes one JSON object on a line.
     *
     * @param array<string, mixed> $object
     */
    protected function writeJson(OutputInterface $output, array $object): void
    {
        $this->write($output, Text::json($object));
    }

    /** The output for errors: standard error if available. */
    protected function errors(OutputInterface $output): OutputInterface
    {
        return $output instanceof ConsoleOutputInterface ? $output->getErrorOutput() : $output;
    }

    private function printError(OutputInterface $output, Throwable $e): void
    {
        $errors = $this->errors($output);
        $this->write($errors, 'Error: ' . Text::printable($e->getMessage()));
        if ($e instanceof DeliveryException) {
            foreach (array_slice($e->getFailed(), 0, 20) as ['id' => $id, 'topic' => $topic, 'reason' => $reason]) {
                $this->write($errors, "  $id to $topic: " . Text::printable($reason));
            }
        }
    }
}
