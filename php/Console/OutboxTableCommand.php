<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Outbox\Platform;
use Toporia\Realtime\Outbox\Schema;
use Toporia\Realtime\Outbox\Settings;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:outbox:table: creates the tables of the transactional outbox, or prints the SQL. Existing tables are left
 * unchanged. An application with migrations prints the SQL and adds it to one.
 */
#[AsCommand('realtime:outbox:table', 'Create the tables of the transactional outbox')]
final class OutboxTableCommand extends Command
{
    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        $this
            ->addOption('print', null, InputOption::VALUE_NONE, 'Print the SQL instead of running it')
            ->addOption('dry-run', null, InputOption::VALUE_NONE, 'Same as --print')
            ->addOption('driver', null, $value, 'With --print: sqlite, pgsql or mysql, if no database is configured')
            ->addOption('table', null, $value, 'Table name [default: realtime_outbox]')
            ->setHelp(
                <<<'HELP'
                The database is <info>REALTIME_OUTBOX_DSN</info>, <info>_USERNAME</info> and <info>_PASSWORD</info>, or
                <info>outbox</info> in config/realtime.php. It must be the database of the application's transactions.

                  <info>%command.full_name%</info>
                  <info>%command.full_name% --print --driver=pgsql > migrations/outbox.sql</info>
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $settings = Settings::of($this->host->config());
        $table = OptionValue::text('--table', $input->getOption('table')) ?? $settings->table;
        $driver = OptionValue::text('--driver', $input->getOption('driver'));
        $print = $input->getOption('print') || $input->getOption('dry-run');
        if ($driver !== null && (!$print || !in_array($driver, Platform::DRIVERS, true))) {
            throw new UsageError('--driver must be one of ' . implode(', ', Platform::DRIVERS) . ', and requires '
                . '--print.');
        }
        $database = null;
        $driver ??= $print ? $settings->driver() : null;
        if ($driver === null) {
            $database = $settings->database();
            $driver = $database->driver();
        }
        $statements = Schema::create($driver, $table);
        if ($print) {
            foreach ($statements as $statement) {
                $this->write($output, "$statement;\n");
            }

            return self::DONE;
        }
        $database ??= $settings->database();
        foreach ($statements as $statement) {
            $database->run($statement);
        }
        $leases = Platform::leases($table);
        $this->write($output, "The outbox tables $table and $leases exist ($database->name).");

        return self::DONE;
    }
}
