<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Diagnostics\GroupSnapshot;
use Toporia\Realtime\Diagnostics\LagOptions;
use Toporia\Realtime\Diagnostics\LagReader;
use Toporia\Realtime\Diagnostics\LagReport;
use Toporia\Realtime\Diagnostics\LagText;
use Toporia\Realtime\Support\StopFlag;
use Toporia\Realtime\Worker\Terminal;
use Toporia\Realtime\Worker\Text;

/**
 * realtime:lag: shows the lag of consumer groups and whether they catch up. Rates are computed from two snapshots; with
 * --watch, from each snapshot and the previous one.
 */
#[AsCommand('realtime:lag', 'Show the lag of consumer groups, and whether they catch up')]
final class LagCommand extends Command
{
    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        $none = InputOption::VALUE_NONE;
        $this
            ->addOption('broker', null, $value, 'Broker name in the configuration', 'kafka')
            ->addOption(
                'group',
                null,
                $value | InputOption::VALUE_IS_ARRAY,
                'Only this group, or groups matching a pattern (shop-*); repeatable [default: the configured groups]'
            )
            ->addOption('all', null, $none, 'Show all groups of this Kafka')
            ->addOption('partitions', null, $none, 'Show partitions too (always shown for a single group)')
            ->addOption('limit', null, $value, 'Maximum lines per table, largest lag first; 0: all [default: 20; '
                . '--json: all]')
            ->addOption('sample', null, $value, 'Seconds between the two snapshots used for rates (0: no rates)', '2')
            ->addOption(
                'watch',
                null,
                InputOption::VALUE_OPTIONAL,
                'Repeat every N seconds (default 2) until Ctrl-C',
                false
            )
            ->addOption('threshold', null, $value, 'Exit with 1 if the lag of a group exceeds N records')
            ->addOption(
                'max-seconds',
                null,
                $value,
                'Exit with 1 if a group needs more than N seconds to consume its lag'
            )
            ->addOption('json', null, $none, 'Print one JSON object per snapshot')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name%</info>
                  <info>%command.full_name% --all --watch</info>
                  <info>%command.full_name% --group='shop-*' --partitions</info>
                  <info>%command.full_name% --threshold=10000 --max-seconds=60</info>   as a check

                LAG is the number of records not committed yet. IN/S and OUT/S are records written and committed per
                second between two snapshots; CAUGHT UP is the time to catch up at these rates. Consumers commit once
                per second: if handlers are slow, set --sample to more seconds than a handler takes.

                Exit codes: 0 ok, 1 a group exceeds a limit or does not exist, or Kafka is unreachable, 2 wrong usage.
                Without --threshold and --max-seconds there is no limit. With --watch the last snapshot counts.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $options = LagOptions::of($input->getOptions());
        $config = $this->host->config();
        $admin = new Admin(['broker' => $options->broker]);
        $stop = $options->watch === null ? null : new StopFlag();
        try {
            return $stop === null
                ? $this->once($output, $admin, $options, $config)
                : $this->watch($output, $admin, $options, $config, $stop);
        } finally {
            $stop?->release();
            $admin->close();
        }
    }

    /** @param array<string, mixed> $config */
    private function once(OutputInterface $output, Admin $admin, LagOptions $options, array $config): int
    {
        $reader = new LagReader($admin);
        $groups = $reader->groups($options, $config);
        $before = [];
        $first = microtime(true);
        if ($options->sample > 0 && $groups !== []) {
            $before = $reader->read($groups);
            $first = microtime(true);
            usleep($options->sample * 1_000_000);
        }
        $report = $this->report($admin, $options, $reader->read($groups), $before, $first);
        $this->write($output, $this->lines($output, $options, $report));

        return self::code($options, $report);
    }

    /** @param array<string, mixed> $config */
    private function watch(
        OutputInterface $output,
        Admin $admin,
        LagOptions $options,
        array $config,
        StopFlag $stop
    ): int {
        $screen = new Terminal($output);
        $reader = new LagReader($admin);
        $before = [];
        $seen = [];
        $last = 0.0;
        $code = self::DONE;
        while (!$stop->isSet()) {
            $start = microtime(true);
            try {
                $snapshots = $stop->run(static fn (): array
                    => $reader->read($reader->groups($options, $config)));
                if ($snapshots === null) {
                    break;
                }
                $snapshots = self::withKnownTopics($snapshots, $seen);
                $report = $this->report($admin, $options, $snapshots, $before, $last);
                [$before, $last] = [$snapshots, $report->at];
                $code = self::code($options, $report);
                $lines = $this->lines($output, $options, $report);
            } catch (ConnectionException $e) {
                // Keep watching: Kafka may come back.
                $code = self::FAILED;
                $failure = ['at' => round(microtime(true), 3), 'ok' => false, 'error' => $e->getMessage()];
                $lines = $options->json ? [Text::json($failure, JSON_PRESERVE_ZERO_FRACTION)]
                    : [date('H:i:s') . ' ' . Text::printable($e->getMessage())];
            }
            $options->json ? $this->write($output, $lines) : $screen->draw($lines);
            $stop->sleep($start + (float) $options->watch - microtime(true));
        }

        return $code;
    }

    /** A check without any group to check counts as failed. */
    private static function code(LagOptions $options, LagReport $report): int
    {
        $fine = $report->failures === [] && ($report->groups !== [] || !$options->isCheck());

        return $fine ? self::DONE : self::FAILED;
    }

    /**
     * Remembers the topics of each group: Kafka forgets the commits of a deleted topic.
     *
     * @param array<string, GroupSnapshot> $snapshots
     * @param array<string, list<string>> $seen topics by group
     *
     * @return array<string, GroupSnapshot>
     */
    private static function withKnownTopics(array $snapshots, array &$seen): array
    {
        foreach ($snapshots as $group => $snapshot) {
            $snapshots[$group] = $snapshot->withSeenTopics($seen[$group] ?? []);
            $seen[$group] = $snapshots[$group]->topics();
        }

        return $snapshots;
    }

    /**
     * @param array<string, GroupSnapshot> $snapshots
     * @param array<string, GroupSnapshot> $before
     * @param float $since when $before was taken
     */
    private function report(Admin $admin, LagOptions $options, array $snapshots, array $before, float $since): LagReport
    {
        $now = microtime(true);
        $seconds = $before === [] ? 0.0 : $now - $since;

        return new LagReport($admin->configuration()['brokers'], $snapshots, $before, $seconds, $now, $options);
    }

    /** @return list<string> */
    private function lines(OutputInterface $output, LagOptions $options, LagReport $report): array
    {
        if (!$options->json) {
            return (new LagText($options, (new Terminal($output))->width()))->lines($report);
        }

        return [Text::json($report->toArray($options->limit), JSON_PRESERVE_ZERO_FRACTION)];
    }
}
