<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Dlq\Cluster;
use Toporia\Realtime\Dlq\Letter;
use Toporia\Realtime\Dlq\LetterDetails;
use Toporia\Realtime\Dlq\Letters;
use Toporia\Realtime\Dlq\Selection;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:dlq:show: shows one dead letter in full. Shows where and why it failed, its headers, its payload, and
 * whether it was replayed.
 */
#[AsCommand('realtime:dlq:show', 'Show one dead letter: why it failed, its headers, its payload')]
final class DlqShowCommand extends DlqCommand
{
    /** Maximum letters listed when several have the same message id. */
    private const MAX_SHOWN = 20;

    protected function configure(): void
    {
        $this
            ->addArgument('letter', InputArgument::REQUIRED, 'Letter id, such as dlq.realtime_user_1/0/17, or '
                . 'message id')
            ->addSelection()
            ->addOption('json', null, InputOption::VALUE_NONE, 'Print one JSON object')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% dlq.realtime_user_1/0/17</info>
                  <info>%command.full_name% realtime_user_1/0/17</info>
                  <info>%command.full_name% 019a8c7e-7b1e-7000-8000-0123456789ab</info>

                A letter id is found immediately; for a message id all dead letters are read.

                Exit codes: 0 shown, 1 no such letter, 2 wrong usage, or several letters have this message id.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $names = $this->names($input);
        $id = (string) $input->getArgument('letter');
        $selection = Selection::of($names, [], [$id], time());

        $show = function (Letters $letters, Cluster $cluster) use ($input, $output, $selection, $id): int {
            $found = [];
            $letters->each($selection, static function (Letter $letter, ?int $at) use (&$found): bool {
                $found[] = [$letter, $at];

                return count($found) <= self::MAX_SHOWN;
            });
            if (count($found) > 1) {
                throw new UsageError(self::ambiguous($id, array_column($found, 0)));
            }
            if ($found === []) {
                $this->writeSkipped($output, $cluster, $letters->skipped($selection));
                $this->write($this->errors($output), [
                    'Error: there is no dead letter ' . Text::printable($id) . '. It may have been purged or '
                        . 'removed by retention; realtime:dlq:list --all shows the existing letters.',
                ]);

                return self::FAILED;
            }
            $details = new LetterDetails(...$found[0]);
            $input->getOption('json')
                ? $this->writeJson($output, $details->toArray())
                : $this->write($output, $details->lines(time()));

            return self::DONE;
        };

        return $this->withLetters($output, $names, $show);
    }

    /** @param list<Letter> $letters */
    private static function ambiguous(string $id, array $letters): string
    {
        $letterIds = array_map(static fn (Letter $letter): string => (string) $letter->letterId(), $letters);
        $more = count($letterIds) > self::MAX_SHOWN ? ', …' : '';

        return "Several dead letters have the message id $id (several groups, or replayed and failed again). Give one "
            . 'letter id: ' . implode(', ', array_slice($letterIds, 0, self::MAX_SHOWN)) . $more;
    }
}
