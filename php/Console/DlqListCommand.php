<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Dlq\Cluster;
use Toporia\Realtime\Dlq\Letter;
use Toporia\Realtime\Dlq\Letters;
use Toporia\Realtime\Dlq\LetterTable;
use Toporia\Realtime\Dlq\NewestLetters;
use Toporia\Realtime\Dlq\Selection;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Terminal;
use Toporia\Realtime\Worker\Text;

/** realtime:dlq:list: lists dead letters, newest first. Replayed letters are hidden unless --all is given. */
#[AsCommand('realtime:dlq:list', 'List dead letters: messages that could not be handled')]
final class DlqListCommand extends DlqCommand
{
    protected function configure(): void
    {
        $this
            ->addSelection('topic', 'class', 'since', 'group')
            ->addOption('all', null, InputOption::VALUE_NONE, 'Include replayed letters')
            ->addOption('limit', null, InputOption::VALUE_REQUIRED, 'Maximum letters shown, newest first '
                . '(0: all)', '50')
            ->addOption('json', null, InputOption::VALUE_NONE, 'Print one JSON object per line')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% --topic='user.*' --class=OrderException --since=2h</info>
                  <info>%command.full_name% --json --limit=0 | jq -r .class | sort | uniq -c</info>

                A letter is identified by its letter id (<info>dlq.realtime_user_1/0/17</info>: topic, partition,
                offset) or by its message id; realtime:dlq:show and realtime:dlq:replay accept both.

                Exit codes: 0 done (even without letters), 1 Kafka is unreachable, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $names = $this->names($input);
        $selection = Selection::of($names, $input->getOptions(), [], time());
        $newest = new NewestLetters(OptionValue::int('--limit', $input->getOption('limit'), 0));
        $all = (bool) $input->getOption('all');

        $list = function (Letters $letters, Cluster $cluster) use ($input, $output, $selection, $newest, $all): int {
            $hidden = 0;
            $take = static function (Letter $letter, ?int $replayedAt) use ($newest, $all, &$hidden): void {
                if ($replayedAt !== null && !$all) {
                    $hidden++;
                } else {
                    $newest->add($letter->failedAt, $letter->toArray($replayedAt));
                }
            };
            $letters->each($selection, $take);
            if ($letters->topics() === []) {
                return self::DONE;
            }
            $this->writeSkipped($output, $cluster, $letters->skipped($selection));
            $input->getOption('json')
                ? array_map(fn (array $letter) => $this->writeJson($output, $letter), $newest->take())
                : $this->table($output, $newest, $hidden);

            return self::DONE;
        };

        return $this->withLetters($output, $names, $list);
    }

    private function table(OutputInterface $output, NewestLetters $newest, int $hidden): void
    {
        $shown = $newest->take();
        if ($shown !== []) {
            $this->write($output, LetterTable::lines($shown, time(), (new Terminal($output))->width()));
        }
        $this->write($output, [self::summary($newest->count(), count($shown), $hidden)]);
    }

    private static function summary(int $found, int $shown, int $hidden): string
    {
        $text = $found === 0 ? 'No dead letters' : Text::count($found, 'dead letter');
        $text .= $shown < $found ? ', the newest ' . Text::number($shown) . ' shown (--limit=0 shows all)' : '';

        return $text . ($hidden === 0 ? '.' : '; ' . Text::count($hidden, 'replayed letter') . ' hidden (--all '
            . 'shows them).');
    }
}
