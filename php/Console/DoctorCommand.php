<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\ArgvInput;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Diagnostics\Checks;
use Toporia\Realtime\Diagnostics\Configuration;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Report;
use Toporia\Realtime\Diagnostics\DoctorOptions;
use Toporia\Realtime\Diagnostics\Secrets;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:doctor: diagnoses the way from PHP to Kafka. Reads the input and assembles the parts; the checks are in
 * Diagnostics\Checks.
 */
#[AsCommand(self::NAME, 'Check everything between PHP and Kafka, and suggest remedies')]
final class DoctorCommand extends Command
{
    public const NAME = 'realtime:doctor';

    /** True if this process runs the doctor, which a refused configuration must not stop. Any other command it must. */
    public static function isCalled(): bool
    {
        return (new ArgvInput())->getFirstArgument() === self::NAME;
    }

    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        $this
            ->addOption('broker', null, $value, 'Broker name in the configuration (default: the default broker)')
            ->addOption('group', null, $value, 'Consumer group, overriding the configuration')
            ->addOption(
                'channels',
                null,
                $value | InputOption::VALUE_IS_ARRAY,
                'Channels of a worker, comma-separated or repeated (default: all topics of the application)'
            )
            ->addOption('timeout', null, $value, 'Timeout for each step of connecting to a broker, in ms', '5000')
            ->addOption('write', null, InputOption::VALUE_NONE, 'Also send a test record through a dedicated topic '
                . 'and read it back')
            ->addOption('strict', null, InputOption::VALUE_NONE, 'Exit with 1 on warnings too')
            ->addOption('json', null, InputOption::VALUE_NONE, 'Print one JSON object per line; the last is '
                . 'the summary')
            ->setHelp(
                <<<'HELP'
                Each line is <info>ok</info>, <info>warning</info> (it works, but look at it) or <info>error</info>;
                warnings and errors come with their remedy. A check that an error makes impossible is
                <info>skipped</info>. Nothing is changed; only <info>--write</info> sends a record, to
                <info>(prefix).__doctor</info>.

                Exit codes: 0 no errors (with <info>--strict</info>: no warnings either), 1 otherwise, 2 wrong usage.

                  <info>%command.full_name%</info>
                  <info>%command.full_name% --group=mailer --channels='order.*' --write</info>
                  <info>%command.full_name% --json | jq -r 'select(.level=="error") | .remedy'</info>
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $options = DoctorOptions::fromArray($input->getOptions());
        $config = $this->host->inspectedConfig();
        $known = Configuration::brokers($config);
        if ($options->broker !== null && !in_array($options->broker, $known, true)) {
            throw new UsageError("--broker=$options->broker is not in realtime.brokers: " . implode(', ', $known));
        }
        $secrets = new Secrets($config);
        $context = new Context($config, $options, $this->host->directory(), $secrets, $this->host->loadError());
        $report = new Report($output, $options->json);
        $start = hrtime(true);
        $report->begin($context);
        // Client errors are already findings; PHP's error log would print them between the lines.
        $log = ini_set('error_log', '/dev/null');
        try {
            (new Checks(Checks::all(), $report, $secrets))->run($context);
        } finally {
            $context->close();
            ini_set('error_log', (string) $log);
        }

        return $report->end((hrtime(true) - $start) / 1e9, $options->strict);
    }
}
