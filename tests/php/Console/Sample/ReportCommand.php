<?php

/**
 * A command of an application, as `commands` in config/realtime.php names it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console\Sample;

use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

final class ReportCommand extends Command
{
    public function __construct(private Scalar $scalar)
    {
        parent::__construct('app:report');
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $output->writeln($this->scalar->dsn);

        return 0;
    }
}
