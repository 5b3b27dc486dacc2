<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Diagnostics\Table;
use Toporia\Realtime\Diagnostics\TopicPlan;
use Toporia\Realtime\Diagnostics\TopicState;
use Toporia\Realtime\Diagnostics\TopicTable;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Terminal;
use Toporia\Realtime\Worker\Text;

/**
 * realtime:topics:describe: shows one topic in full. Shows partitions, leaders, replicas, offsets, important settings,
 * and the current user's permissions.
 */
#[AsCommand('realtime:topics:describe', 'Describe a topic: partitions, leaders, offsets, settings, permissions')]
final class TopicsDescribeCommand extends TopicCommand
{
    private const SETTINGS = [
        'cleanup.policy', 'retention.ms', 'retention.bytes', 'max.message.bytes', 'min.insync.replicas',
        'compression.type', 'message.timestamp.type',
    ];

    protected function configure(): void
    {
        $this
            ->addArgument('topic', InputArgument::REQUIRED, 'Topic name')
            ->addBroker()
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% realtime.user</info>

                --json includes all settings. For its consumer groups and their lag, see realtime:lag.

                Exit codes: 0 done, 1 no such topic or Kafka is unreachable, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $name = (string) OptionValue::text('<topic>', $input->getArgument('topic'));

        return $this->withKafka($input, function (Admin $admin, TopicPlan $plan) use ($input, $output, $name): int {
            $topic = TopicState::all($admin->topics($name))[$name] ?? null;
            if ($topic === null) {
                throw new UnknownTopicException(
                    "Kafka at {$admin->configuration()['brokers']} has no topic \"$name\". List all topics with "
                    . 'realtime:topics:list --all.'
                );
            }
            $spans = self::spans($admin, [$topic]);
            $table = new TopicTable($plan, $spans);
            $settings = $allowed = null;
            try {
                $settings = $admin->topicConfig($name);
                $allowed = $admin->operations([$name])[$name] ?? [];
            } catch (ConfigurationException) {
                // The embedded broker has neither.
            }
            $offsets = $spans[$name]['partitions'] ?? [];
            if ($input->getOption('json')) {
                $this->writeJson($output, $table->toArray($topic) + ['parts' => array_map(
                    static fn (array $partition): array => $partition + ($offsets[$partition['partition']]
                        ?? ['beginning' => null, 'end' => null]),
                    $topic->partitions
                ), 'settings' => $settings, 'operations' => $allowed]);

                return self::DONE;
            }
            $this->write($output, [
                ...self::about($topic, $plan, $table->records($topic)),
                '',
                ...self::partitions($topic, $offsets, (new Terminal($output))->width()),
                '',
                ...self::settings($settings),
                ...($allowed === null ? [] : ['Permissions: ' . ($allowed === [] ? 'none' : implode(', ', $allowed))]),
            ]);

            return self::DONE;
        });
    }

    /** @return list<string> */
    private static function about(TopicState $topic, TopicPlan $plan, ?int $records): array
    {
        $channels = implode(', ', $plan->wanted[$topic->name]->patterns ?? []);
        $replicas = $topic->replicas();
        $sum = Text::count(count($topic->partitions), 'partition') . ', ' . ($replicas === 1 ? '1 replica' : "$replicas replicas")
            . ', ' . ($records === null ? 'number of records unknown' : Text::count($records, 'record') . ' at most');
        $problem = $topic->problem();

        return array_map(Text::printable(...), [
            "$topic->name: $sum",
            'Kind: ' . ($plan->kind($topic->name) ?? 'not part of this configuration')
                . ($channels === '' ? '' : " ($channels)"),
            ...($problem === null ? [] : ["Problem: $problem"]),
        ]);
    }

    /**
     * @param array<int, array{beginning: int, end: int}> $offsets
     *
     * @return list<string>
     */
    private static function partitions(TopicState $topic, array $offsets, int $width): array
    {
        $rows = [];
        foreach ($topic->partitions as $partition) {
            $span = $offsets[$partition['partition']] ?? null;
            $behind = array_diff($partition['replicas'], $partition['isr']);
            $rows[] = [
                (string) $partition['partition'],
                $partition['leader'] < 0 ? 'none' : (string) $partition['leader'],
                implode(',', $partition['replicas']),
                $behind === [] ? '' : implode(',', $behind),
                $span === null ? '?' : Text::number($span['beginning']),
                $span === null ? '?' : Text::number($span['end']),
                $span === null ? '?' : Text::number($span['end'] - $span['beginning']),
            ];
        }

        return Table::lines([
            'PART' => Table::NUMBER, 'LEADER' => Table::NUMBER, 'REPLICAS' => Table::TEXT, 'OUT OF SYNC' => Table::TEXT,
            'BEGINNING' => Table::NUMBER, 'END' => Table::NUMBER, 'RECORDS' => Table::NUMBER,
        ], $rows, $width);
    }

    /**
     * @param array<string, ?string>|null $settings
     *
     * @return list<string>
     */
    private static function settings(?array $settings): array
    {
        if ($settings === null) {
            return ['Settings: none (embedded broker).'];
        }
        $lines = ['Settings (--json shows all):'];
        foreach (self::SETTINGS as $name) {
            $value = $settings[$name] ?? null;
            $words = $name === 'retention.ms' && $value !== null ? ' (' . Text::retention((int) $value) . ')' : '';
            $lines[] = Text::printable("  $name = " . ($value ?? '(not shown)') . $words);
        }

        return $lines;
    }
}
