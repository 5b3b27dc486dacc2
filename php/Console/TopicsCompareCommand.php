<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Diagnostics\Difference;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Diagnostics\TopicState;
use Toporia\Realtime\Worker\Text;

/**
 * realtime:topics:compare: lists the differences between the topics and the configuration, with remedies. The exit code
 * makes it usable as a check in deployments.
 */
#[AsCommand('realtime:topics:compare', 'Compare the topics with the configuration and show remedies')]
final class TopicsCompareCommand extends TopicCommand
{
    protected function configure(): void
    {
        $this
            ->addBroker()
            ->addMaxChannels()
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name%</info>

                Compares partitions, replication and retention of topic_mapping with Kafka. Finds topics that are
                missing, unused, without a leader or under-replicated, whose names collide in Kafka (. and _), and too
                many channels for one topic per channel.

                Exit codes: 0 ok (warnings and notes do not count), 1 something is wrong or Kafka is unreachable,
                2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        return $this->withKafka($input, function (Admin $admin, TopicPlan $plan) use ($input, $output): int {
            $found = $this->compare($input, $admin, $plan, TopicState::all($admin->topics()));
            $wrong = count(array_filter($found, static fn (Difference $one): bool
                => $one->level === Difference::WRONG));
            if ($input->getOption('json')) {
                $this->writeJson($output, [
                    'ok' => $wrong === 0,
                    'differences' => array_map(static fn (Difference $one): array => $one->toArray(), $found),
                ]);
            } else {
                $this->write($output, [
                    $found === [] ? 'Topics match the configuration.'
                        : Text::count(count($found), 'difference') . " from the configuration, $wrong wrong:",
                    ...self::differenceLines($found),
                ]);
            }

            return $wrong === 0 ? self::DONE : self::FAILED;
        });
    }
}
