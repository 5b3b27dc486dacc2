<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Dlq\Cluster;
use Toporia\Realtime\Dlq\Letters;
use Toporia\Realtime\Dlq\PurgePlan;
use Toporia\Realtime\Dlq\Selection;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:dlq:purge: deletes dead letters permanently. Plans, asks for confirmation, deletes; reports letters that
 * stay because Kafka only deletes the beginning of a partition.
 */
#[AsCommand('realtime:dlq:purge', 'Delete dead letters permanently')]
final class DlqPurgeCommand extends DlqCommand
{
    protected function configure(): void
    {
        $this
            ->addSelection('topic', 'before')
            ->addOption('replayed', null, InputOption::VALUE_NONE, 'Only replayed letters')
            ->addOption('all', null, InputOption::VALUE_NONE, 'All letters, replayed or not')
            ->addConfirmation()
            ->addOption('json', null, InputOption::VALUE_NONE, 'Print the result as one JSON object')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% --replayed</info>
                  <info>%command.full_name% --replayed --before=7d --topic=realtime_user_1</info>
                  <info>%command.full_name% --all --yes</info>

                Only letters of this application (topic_prefix, topic_mapping) are purged; others need --topic with the
                full name of their topic.

                Kafka only deletes the beginning of a partition: a letter that must stay keeps all later ones; the
                command lists them. --before and --replayed can be combined; both must match. Not available on the
                embedded broker.

                Exit codes: 0 done (or nothing to do), 1 Kafka is unreachable or rejected it, 2 wrong usage, or an
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
            throw new UsageError('One of these is required: --before=<time>, --replayed or both, or --all alone.');
        }
        $this->requireConfirmation($input);

        $purge = function (Letters $letters, Cluster $cluster) use ($input, $output, $selection, $replayed): int {
            $plan = new PurgePlan($cluster, $letters, $selection, $replayed);
            $this->writeSkipped($output, $cluster, $letters->skipped($selection));

            return $this->purge($input, $output, $plan);
        };

        return $this->withLetters($output, $names, $purge);
    }

    private function purge(InputInterface $input, OutputInterface $output, PurgePlan $plan): int
    {
        if (!$input->getOption('json')) {
            $this->write($output, $plan->summary());
        }
        $deleted = 0;
        if ($plan->count() > 0 && !$input->getOption('dry-run')) {
            $question = 'Delete ' . Text::count($plan->count(), 'letter') . ' permanently?';
            if (!$this->confirm($input, $output, $question)) {
                $this->write($output, ['Nothing was deleted.']);

                return self::DONE;
            }
            $markerError = $plan->run();
            $deleted = $plan->count();
            $this->write($this->errors($output), $markerError === null ? [] : [
                'Markers of deleted letters could not be '
                    . 'removed (' . Text::printable($markerError) . '). They are harmless.',
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
