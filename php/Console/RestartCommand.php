<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Worker\RestartSignal;

/**
 * realtime:restart: makes running workers finish the current record and exit. The supervisor (systemd, Supervisor,
 * Docker) then starts them again with the new code.
 */
final class RestartCommand extends Command
{
    public function __construct(private Host $host)
    {
        parent::__construct('realtime:restart');
    }

    protected function configure(): void
    {
        $this
            ->setDescription('Make running workers finish the current record and exit')
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
        $output->writeln(
            'Running workers will finish the current record and exit with 0 (restart file: ' . $signal->file() . ').',
            OutputInterface::OUTPUT_RAW
        );

        return self::DONE;
    }
}
