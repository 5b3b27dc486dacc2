<?php

/**
 * Checks the lag of the group and the age of its oldest message.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\NameList;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\Text;

/**
 * The age of the oldest waiting message is more meaningful than the number of messages.
 */
final class LagCheck implements Check
{
    private const WARNING_SECONDS = 60;
    private const ERROR_SECONDS = 900;
    /** Maximum number of topics to read offsets of. */
    private const MAX_TOPICS = 200;

    public function name(): string
    {
        return 'lag';
    }

    public function title(): string
    {
        return 'Consumer group';
    }

    public function needs(): array
    {
        return ['client', 'admin', 'group-access', 'group'];
    }

    public function run(Context $context): iterable
    {
        $admin = $context->admin();
        $committed = $admin->groupOffsets($context->group);
        $lag = $this->lag($context, $committed);
        $waiting = array_sum(array_column($lag, 'messages'));
        $where = "lag of group $context->group";
        if ($lag === []) {
            yield Finding::skipped($where, 'the group has not committed any offset yet and reads no known topic');

            return;
        }
        if ($waiting === 0) {
            yield Finding::ok(
                $where,
                'none: all records are handled, in ' . Text::count(count($lag), 'topic'),
                ['lag' => 0]
            );

            return;
        }
        usort($lag, static fn (array $a, array $b): int => $b['messages'] <=> $a['messages']);
        $age = $this->age($admin, $lag[0]);
        $topics = array_values(array_filter($lag, static fn (array $one): bool => $one['messages'] > 0));
        $text = Text::count($waiting, 'message') . ' wait' . ($waiting === 1 ? 's' : '') . ' in '
            . NameList::short(array_column($topics, 'topic'))
            . ($age === null ? '' : ', the oldest for ' . self::duration($age));
        $facts = ['lag' => $waiting, 'oldest_seconds' => $age];
        $more = 'realtime:lag shows the partitions and whether it grows. ';
        yield match (true) {
            $context->hasMembers === false => Finding::error($where, "$text, and nothing is "
                . "consumed", 'Start a worker: '
                . "realtime:kafka:consume --group=$context->group --channels=…", $facts),
            ($age ?? 0) >= self::ERROR_SECONDS => Finding::error(
                $where,
                $text,
                $more . 'Check the workers\' logs and failures first; if they are only too slow: add workers '
                    . '(up to the number of partitions), then more partitions.',
                $facts
            ),
            ($age ?? 0) >= self::WARNING_SECONDS => Finding::warning(
                $where,
                $text,
                $more . 'If it grows: add workers, up to the number of partitions; a callback that waits for '
                    . 'something slow should use a job queue.',
                $facts
            ),
            default => Finding::ok($where, $text, $facts),
        };
    }

    /**
     * @param array<string, array<int, int>> $committed
     *
     * @return list<array{topic: string, messages: int, worst: int, partition: int, from: array<int, int>}>
     */
    private function lag(Context $context, array $committed): array
    {
        $existing = $context->topicNames();
        // Without --channels: the topics with commits of the group.
        $wanted = $context->options->channels !== [] ? $context->consumed() : array_map('strval', array_keys($committed));
        $lag = [];
        foreach (array_slice(array_values(array_intersect($wanted, $existing)), 0, self::MAX_TOPICS) as $topic) {
            $one = ['topic' => $topic, 'messages' => 0, 'worst' => 0, 'partition' => 0, 'from' => []];
            foreach ($context->admin()->offsets($topic) as $partition => ['beginning' => $beginning, 'end' => $end]) {
                $at = $committed[$topic][$partition] ?? -1;
                $at = max($at < 0 ? $beginning : $at, $beginning);
                $behind = max(0, $end - $at);
                $one['messages'] += $behind;
                $one['from'][$partition] = $end;
                if ($behind > $one['worst']) {
                    [$one['worst'], $one['partition']] = [$behind, $partition];
                    $oldest = $at;
                }
            }
            if ($one['worst'] > 0) {
                $one['from'][$one['partition']] = $oldest ?? 0;
            }
            $lag[] = $one;
        }

        return $lag;
    }

    /** @param array{topic: string, from: array<int, int>} $one */
    private function age(Admin $admin, array $one): ?int
    {
        $age = null;
        try {
            $admin->read($one['topic'], static function (Message $message) use (&$age): bool {
                $age = max(0, time() - (int) $message->getTimestamp());

                return false;
            }, $one['from']);
        } catch (RealtimeException) {
            // The user may not read it, or the topic was deleted just now.
        }

        return $age;
    }

    private static function duration(int $seconds): string
    {
        return match (true) {
            $seconds < 120 => "$seconds s",
            $seconds < 7200 => round($seconds / 60) . ' minutes',
            $seconds < 172_800 => round($seconds / 3600) . ' hours',
            default => round($seconds / 86400) . ' days',
        };
    }
}
