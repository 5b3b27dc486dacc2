<?php

/**
 * realtime:dlq:purge: deletes dead letters permanently.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Closure;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Dlq\Cluster;
use Toporia\Realtime\Dlq\Letters;
use Toporia\Realtime\Dlq\PurgePlan;
use Toporia\Realtime\Dlq\Purger;
use Toporia\Realtime\Dlq\Selection;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * Plans, asks for confirmation, deletes; reports letters that stay because Kafka only deletes the beginning of a
 * partition.
 */
final class DlqPurgeCommand extends DlqCommand
{
    public function __construct(Host $host, ?Closure $connect = null)
    {
        parent::__construct('realtime:dlq:purge', $host, $connect);
    }

    protected function configure(): void
    {
        $this
            ->setDescription('Deletes dead letters for good')
            ->addSelection('topic', 'before')
            ->addOption('replayed', null, InputOption::VALUE_NONE, 'Only what was replayed')
            ->addOption('all', null, InputOption::VALUE_NONE, 'All of them, replayed or not')
            ->addConfirmation()
            ->addOption('json', null, InputOption::VALUE_NONE, 'The result as one JSON object')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% --replayed</info>
                  <info>%command.full_name% --replayed --before=7d --topic=realtime_user_1</info>
                  <info>%command.full_name% --all --yes</info>

                Kafka deletes the beginning of a partition only: a letter that has to stay keeps those behind it, and
                this says which. With --before and --replayed both have to hold. The embedded broker cannot do this.

                Exit codes: 0 done (or nothing to do), 1 Kafka cannot be reached or refuses, 2 wrong usage, or an
                embedded broker.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $names = $this->names($input);
        $selection = Selection::of($names, $input->getOptions(), [], time());
        $replayed = (bool) $input->getOption('replayed');
        $narrowed = $replayed || $input->getOption('before') !== null;
        if ($narrowed === (bool) $input->getOption('all')) {
            throw new UsageError('Say what to delete: --before=<time>, --replayed or both, or --all alone.');
        }
        $this->requireConfirmation($input);

        $purge = function (Letters $letters, Cluster $cluster) use ($input, $output, $selection, $replayed): int {
            $purger = new Purger($cluster, $letters);

            return $this->purge($input, $output, $purger, $purger->plan($selection, $replayed));
        };

        return $this->withLetters($input, $output, $names, $purge);
    }

    private function purge(InputInterface $input, OutputInterface $output, Purger $purger, PurgePlan $plan): int
    {
        if (!$input->getOption('json')) {
            $this->write($output, $plan->summary());
        }
        $deleted = 0;
        if ($plan->count() > 0 && !$input->getOption('dry-run')) {
            $question = 'Delete ' . Text::count($plan->count(), 'letter') . ' for good?';
            if (!$this->confirm($input, $output, $question)) {
                $this->write($output, ['Nothing was deleted.']);

                return self::DONE;
            }
            $markerError = $purger->run($plan);
            $deleted = $plan->count();
            $this->write($this->errors($output), $markerError === null ? [] : [
                'Marks of deleted letters could not be removed (' . Text::printable($markerError) . '). They do no harm.',
            ]);
        }
        $this->report($input, $output, $plan, $deleted);

        return self::DONE;
    }

    private function report(InputInterface $input, OutputInterface $output, PurgePlan $plan, int $deleted): void
    {
        $dryRun = (bool) $input->getOption('dry-run');
        if ($input->getOption('json')) {
            $this->writeJson($output, [
                'dry_run' => $dryRun,
                'chosen' => $plan->count(),
                'deleted' => $deleted,
                'held_back' => $plan->blocked(),
            ]);

            return;
        }
        $this->write($output, [match (true) {
            $plan->count() === 0 => 'Nothing to delete.',
            $dryRun => 'Dry run: ' . Text::count($plan->count(), 'letter') . ' would be deleted.',
            default => Text::count($deleted, 'letter') . ' deleted.',
        }]);
    }
}
