<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\GroupSnapshot;
use Toporia\Realtime\Diagnostics\LagReader;
use Toporia\Realtime\Diagnostics\PartitionLag;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\Text;

/**
 * Checks the lag of the group and the age of its oldest message. The age of the oldest waiting message is more
 * meaningful than the number of messages.
 */
final class LagCheck extends Check
{
    public const NAME = 'lag';
    public const TITLE = 'Consumer group';
    public const NEEDS = ['client', 'admin', 'group-access', 'group'];
    private const WARNING_SECONDS = 60;
    private const ERROR_SECONDS = 900;
    /** Maximum number of topics without commits to read offsets of. */
    private const MAX_TOPICS = 200;

    public function run(Context $context): iterable
    {
        $where = "lag of group $context->group";
        $partitions = $this->partitions($context, $this->snapshot($context));
        if ($partitions === []) {
            yield Finding::skipped($where, 'the group has not committed any offset yet and reads no known topic');

            return;
        }
        $behind = array_filter($partitions, static fn (PartitionLag $one): bool => $one->lag() > 0);
        $waiting = array_sum(array_map(static fn (PartitionLag $one): int => $one->lag(), $behind));
        if ($waiting === 0) {
            $count = count(array_unique(array_column($partitions, 'topic')));
            yield Finding::ok($where, 'none: all records are handled, in ' . Text::count($count, 'topic'), ['lag' => 0]);

            return;
        }
        usort($behind, static fn (PartitionLag $a, PartitionLag $b): int => $b->lag() <=> $a->lag());
        $age = $this->age($context->admin(), $behind[0], $partitions);
        $text = Text::count($waiting, 'message') . ' wait' . ($waiting === 1 ? 's' : '') . ' in '
            . Text::names(array_values(array_unique(array_column($behind, 'topic'))))
            . ($age === null ? '' : ', the oldest for ' . Text::seconds((float) $age));
        $facts = ['lag' => $waiting, 'oldest_seconds' => $age];
        $more = 'realtime:lag shows the partitions and whether it grows. ';
        yield match (true) {
            $context->hasMembers === false => Finding::error(
                $where,
                "$text, and nothing is consumed",
                "Start a worker: realtime:kafka:consume --group=$context->group --channels=…",
                $facts
            ),
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

    private function snapshot(Context $context): GroupSnapshot
    {
        $snapshot = (new LagReader($context->admin()))->read([$context->group])[$context->group];
        if ($snapshot->error !== null) {
            throw new ConnectionException($snapshot->error);
        }

        return $snapshot;
    }

    /**
     * The partitions of the requested channels; without --channels those of the topics with commits of the group.
     *
     * @return list<PartitionLag>
     */
    private function partitions(Context $context, GroupSnapshot $snapshot): array
    {
        if ($context->options->channels === []) {
            return $snapshot->partitions;
        }
        $wanted = array_intersect($context->consumed(), $context->topicNames());
        $partitions = array_filter(
            $snapshot->partitions,
            static fn (PartitionLag $one): bool => in_array($one->topic, $wanted, true)
        );
        $new = array_values(array_diff($wanted, $snapshot->topics()));
        $spans = $new === [] ? [] : $context->admin()->offsetsOfTopics(array_slice($new, 0, self::MAX_TOPICS));
        foreach ($spans as $topic => ['partitions' => $ranges]) {
            foreach ($ranges as $partition => ['beginning' => $beginning, 'end' => $end]) {
                $partitions[] = new PartitionLag((string) $topic, $partition, null, $beginning, $end);
            }
        }

        return array_values($partitions);
    }

    /**
     * The age of the oldest waiting record of a partition, in seconds; null: not known.
     *
     * @param list<PartitionLag> $partitions
     */
    private function age(Admin $admin, PartitionLag $worst, array $partitions): ?int
    {
        $from = [];
        foreach ($partitions as $one) {
            if ($one->topic === $worst->topic) {
                $from[$one->partition] = $one === $worst ? $one->end - $one->lag() : $one->end;
            }
        }
        $age = null;
        try {
            $admin->read($worst->topic, static function (Message $message) use (&$age): bool {
                $age = max(0, time() - (int) $message->getTimestamp());

                return false;
            }, $from);
        } catch (RealtimeException) {
            // The user may not read it, or the topic was deleted just now.
        }

        return $age;
    }
}
