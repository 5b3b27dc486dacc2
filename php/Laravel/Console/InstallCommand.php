<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Illuminate\Contracts\Foundation\Application;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Console\Command;
use Toporia\Realtime\Console\Host;
use Toporia\Realtime\Laravel\Install\Installer;

/**
 * realtime:install: sets up an application, from configuration to browser code. Only adds what is missing; running it
 * again changes nothing.
 */
#[AsCommand('realtime:install', 'Add configuration, keys, channel routes and an echo.js to this application')]
final class InstallCommand extends Command
{
    public function __construct(Host $host, private Application $app)
    {
        parent::__construct($host);
    }

    protected function configure(): void
    {
        $this
            ->setHelp(
                <<<'HELP'
                Creates config/realtime.php, config/broadcasting.php, routes/channels.php and resources/js/echo.js if
                missing. Sets the broadcast driver, KAFKA_BROKERS, and a random app id, key and secret in .env if they
                have no value.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $installer = new Installer($this->app);
        $installer->run();
        foreach ($installer->completed as $step) {
            $this->write($output, "  added    $step");
        }
        if ($installer->completed === []) {
            $this->write($output, '  Nothing to do: everything is in place.');
        }
        foreach ($installer->manualSteps as $step) {
            $this->write($output, "  to do    $step");
        }
        if (!extension_loaded('toporia_realtime')) {
            $this->write($output, '  to do    Install the extension: without it only Realtime::fake() works.');
        }

        return self::DONE;
    }
}
