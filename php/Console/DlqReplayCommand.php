<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Dlq\Cluster;
use Toporia\Realtime\Dlq\Letters;
use Toporia\Realtime\Dlq\LetterTable;
use Toporia\Realtime\Dlq\Replayer;
use Toporia\Realtime\Dlq\ReplayDelivery;
use Toporia\Realtime\Dlq\ReplayPlan;
use Toporia\Realtime\Dlq\Selection;
use Toporia\Realtime\Support\StopFlag;
use Toporia\Realtime\Worker\Terminal;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:dlq:replay: sends dead letters back to their topics, for the consumer group that failed. Plans, asks for
 * confirmation, replays, and reports failures.
 */
#[AsCommand('realtime:dlq:replay', 'Send dead letters back to their topics, for the consumer group that failed')]
final class DlqReplayCommand extends DlqCommand
{
    protected function configure(): void
    {
        $this
            ->addArgument('letters', InputArgument::IS_ARRAY, 'Letter ids such as dlq.realtime_user_1/0/17, or '
                . 'message ids')
            ->addSelection('topic', 'class', 'since', 'group')
            ->addOption('all', null, InputOption::VALUE_NONE, 'Replay all letters that were not replayed yet')
            ->addOption('again', null, InputOption::VALUE_NONE, 'Include letters that were replayed before')
            ->addConfirmation()
            ->addOption('json', null, InputOption::VALUE_NONE, 'Print the result as one JSON object')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% dlq.realtime_user_1/0/17</info>
                  <info>%command.full_name% --class=OrderException --since=2h --dry-run</info>
                  <info>%command.full_name% --all --yes</info>

                Only letters of this application (topic_prefix, topic_mapping) are replayed; others need
                --topic with the full name of their topic, or letter ids.

                A replay is sent to the topic in which the message failed; only the consumer group that failed handles
                it. Replayed letters are recorded in Kafka and hidden afterwards. A letter is marked once Kafka has
                acknowledged it; if the process is killed just before, the next replay sends up to 100 letters again.
                Ctrl-C stops cleanly.

                Exit codes: 0 all replayed (or nothing to do), 1 some letters failed, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $names = $this->names($input);
        $selection = Selection::of($names, $input->getOptions(), $input->getArgument('letters'), time());
        if ($selection->isEverything() && !$input->getOption('all')) {
            throw new UsageError(
                'One of these is required: letter ids or message ids, --topic, --class, --since, --group, or --all.'
            );
        }
        if ($input->getOption('all') && $input->getArgument('letters') !== []) {
            throw new UsageError('--all cannot be combined with single letters.');
        }
        $this->requireConfirmation($input);

        $work = function (Letters $letters, Cluster $cluster) use ($input, $output, $selection): int {
            $replayer = new Replayer($cluster, $letters);
            $plan = $replayer->plan($selection, (bool) $input->getOption('again'));
            $this->writeSkipped($output, $cluster, $letters->skipped($selection));

            return $this->work($input, $output, $replayer, $plan);
        };

        return $this->withLetters($output, $names, $work);
    }

    private function work(InputInterface $input, OutputInterface $output, Replayer $replayer, ReplayPlan $plan): int
    {
        $this->showPlan($input, $output, $plan);
        $delivery = null;
        if ($plan->count() > 0 && !$input->getOption('dry-run')) {
            if (!$this->confirm($input, $output, 'Replay ' . Text::count($plan->count(), 'letter') . '?')) {
                $this->write($output, ['Nothing was replayed.']);

                return self::DONE;
            }
            $delivery = $this->replay($output, $replayer, $plan);
        }

        return $this->report($input, $output, $plan, $delivery);
    }

    private function showPlan(InputInterface $input, OutputInterface $output, ReplayPlan $plan): void
    {
        if (!$input->getOption('json')) {
            $this->write($output, $plan->summary());
            if ($input->getOption('dry-run') && $plan->count() > 0) {
                $sample = $plan->sample();
                $this->write($output, LetterTable::lines($sample, time(), (new Terminal($output))->width()));
                $more = $plan->count() - count($sample);
                $this->write($output, $more > 0 ? ['… and ' . Text::number($more) . ' more'] : []);
            }
        }
        $this->writeReasons($output, 'Cannot be replayed:', $plan->refused);
    }

    private function replay(OutputInterface $output, Replayer $replayer, ReplayPlan $plan): ReplayDelivery
    {
        $terminal = new Terminal($output);
        $total = Text::number($plan->count());
        $stop = new StopFlag();
        try {
            return $replayer->run(
                $plan,
                static fn (int $done) => $terminal->status(Text::number($done) . " of $total replayed"),
                $stop->isSet(...)
            );
        } finally {
            $stop->release();
            $terminal->status('');
        }
    }

    private function report(
        InputInterface $input,
        OutputInterface $output,
        ReplayPlan $plan,
        ?ReplayDelivery $delivery
    ): int {
        $replayed = $delivery->replayed ?? 0;
        $failed = $delivery->failed ?? [];
        $unmarked = $delivery->unmarked ?? [];
        if ($input->getOption('json')) {
            $this->writeJson($output, [
                'dry_run' => (bool) $input->getOption('dry-run'),
                'chosen' => $plan->count(),
                'replayed' => $replayed,
                'replayed_before' => $plan->replayedBefore,
                'gone' => $delivery->gone ?? 0,
                'stopped' => $delivery->stopped ?? false,
                'refused' => (object) $plan->refused,
                'failed' => (object) $failed,
                'not_remembered' => (object) $unmarked,
            ]);
        } else {
            $this->write($output, [$this->sentence($input, $plan, $delivery)]);
        }
        $this->writeReasons($output, 'Not delivered; these letters can be replayed again:', $failed);
        $this->writeReasons($output, 'Replayed, but not marked, so the next replay sends them again:', $unmarked);

        return $failed === [] && $unmarked === [] && $plan->refused === [] ? self::DONE : self::FAILED;
    }

    private function sentence(InputInterface $input, ReplayPlan $plan, ?ReplayDelivery $delivery): string
    {
        $text = match (true) {
            $plan->count() === 0 => 'Nothing to replay',
            $delivery === null => 'Dry run: ' . Text::count($plan->count(), 'letter') . ' would be replayed',
            default => Text::count($delivery->replayed, 'letter') . ' replayed',
        };
        if ($delivery !== null && $delivery->gone > 0) {
            $text .= ', ' . Text::number($delivery->gone) . ' deleted since';
        }
        if ($delivery !== null && $delivery->stopped) {
            $text .= ', stopped early';
        }
        if ($plan->replayedBefore > 0) {
            $text .= '; ' . Text::number($plan->replayedBefore) . ' already replayed and skipped (--again '
                . 'includes them)';
        }

        return "$text.";
    }
}
