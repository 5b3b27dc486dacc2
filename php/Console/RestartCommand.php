<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Worker\RestartSignal;

/**
 * realtime:restart: makes running workers finish the current record and exit. The supervisor (systemd, Supervisor,
 * Docker) then starts them again with the new code.
 */
#[AsCommand('realtime:restart', 'Make running workers finish the current record and exit')]
final class RestartCommand extends Command
{
    protected function configure(): void
    {
        $this
            ->setHelp(
                <<<'HELP'
                Changes a file that workers watch. The default file is in the temporary directory and reaches the
                workers of this user and this working directory. Workers that run as another user, in another directory
                or under systemd's PrivateTmp need <info>restart_file</info> in config/realtime.php.

                Run it after a deployment. A supervisor must start the workers again.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $signal = RestartSignal::of($this->host->config(), $this->host->directory());
        $signal->set();
        $what = 'Running workers will finish the current record and exit with 0';
        $this->write($output, "$what (restart file: $signal->file).");

        return self::DONE;
    }
}
