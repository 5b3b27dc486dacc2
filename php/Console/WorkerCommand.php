<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Command\SignalableCommandInterface;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

/**
 * Base class of the commands that run until a signal. An application with an event dispatcher exits at a signal. While
 * such a command runs, it finishes as if there were no application: after the listeners the signal is passed on to the
 * extension, which ends consume() or wait().
 */
abstract class WorkerCommand extends Command implements ReceivesSignals
{
    private bool $running = false;
    /** @var array<int, callable|int> handlers of the application that were removed, by signal */
    private array $removed = [];

    public function run(InputInterface $input, OutputInterface $output): int
    {
        $this->running = true;
        try {
            $this->register();

            return parent::run($input, $output);
        } finally {
            $this->running = false;
            foreach ($this->removed as $signal => $handler) {
                pcntl_signal($signal, $handler);
            }
            $this->removed = [];
        }
    }

    /** @return list<int> */
    public function getSubscribedSignals(): array
    {
        return function_exists('pcntl_signal') && function_exists('posix_kill') ? [SIGINT, SIGTERM, SIGQUIT] : [];
    }

    public function handleSignal(int $signal, int|false $previousExitCode = 0): int|false
    {
        if (!$this->running) {
            return $previousExitCode;
        }
        $this->removed[$signal] ??= pcntl_signal_get_handler($signal);
        pcntl_signal($signal, SIG_DFL);
        posix_kill((int) getmypid(), $signal);

        return false;
    }

    private function register(): void
    {
        $application = $this->getApplication();
        if ($application === null || $this instanceof SignalableCommandInterface) {
            return;
        }
        foreach ($this->getSubscribedSignals() as $signal) {
            if (is_callable(pcntl_signal_get_handler($signal))) {
                $application->getSignalRegistry()->register($signal, function (int $signal): void {
                    $this->handleSignal($signal);
                });
            }
        }
    }
}
