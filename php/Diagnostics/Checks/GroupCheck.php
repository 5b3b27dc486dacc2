<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\Text;

/** Checks the members of the consumer group. */
final class GroupCheck extends Check
{
    public const NAME = 'group';
    public const TITLE = 'Consumer group';
    public const NEEDS = ['client', 'admin', 'group-access'];
    /** Number of checks, a second apart, after which a rebalance is reported. */
    private const ATTEMPTS = 4;

    /** @param int $pauseMs pause between two checks of a rebalancing group, in ms */
    public function __construct(private int $pauseMs = 1000)
    {
    }

    public function run(Context $context): iterable
    {
        $where = "group $context->group";
        yield from $this->protocol($context, $where);
        try {
            $group = $this->stableGroup($context);
        } catch (RealtimeException $e) {
            $context->block(self::NAME, "Kafka does not describe the group $context->group");
            yield Finding::error($where, $e->getMessage(), 'Is the coordinator of the group (a broker) up? '
                . "`kafka-consumer-groups.sh --describe --group $context->group` sends the same request.");

            return;
        }
        $state = strtolower(strtr($group['state'], ['_' => '', ' ' => '']));
        $members = count($group['members']);
        $context->hasMembers = $members > 0;
        $facts = ['group' => $context->group, 'state' => $group['state'], 'members' => $members];
        $start = "Start a worker: realtime:kafka:consume --group=$context->group --channels=…, or check why its "
            . "supervisor does not keep it running.";
        if ($context->settings['group_protocol'] === 'consumer') {
            $start .= ' If it ends at once, a broker may have disabled group.protocol \'consumer\' '
                . '(group.coordinator.rebalance.protocols): its error says so.';
        }
        if ($state === 'dead' || $state === 'unknown' && $members === 0) {
            yield Finding::warning(
                $where,
                'does not exist: no worker has ever committed offsets in it',
                "$start Is the name correct " . '(consumer_group, KAFKA_CONSUMER_GROUP, --group)?',
                $facts
            );
        } elseif ($members === 0) {
            yield Finding::warning($where, 'has no members: nothing is consumed', $start, $facts);
        } elseif (str_contains($state, 'rebalanc') || in_array($state, ['assigning', 'reconciling'], true)) {
            yield Finding::warning(
                $where,
                "is rebalancing, and has been for {$this->waitedSeconds()} s: " . Text::count($members, 'member')
                    . ' wait for each other',
                'Members that join and leave repeatedly cause this: check the workers\' logs for restarts, and for '
                    . 'callbacks that take longer than max.poll.interval.ms.',
                $facts
            );
        } else {
            yield Finding::ok($where, "{$group['state']}, " . Text::count($members, 'member') . ' on '
                . Text::count(count(array_unique(array_column($group['members'], 'host'))), 'host'), $facts);
        }
        yield from $this->members($context, $group['members']);
    }

    /**
     * The new group protocol on brokers that are too old for it: every worker ends with an exception.
     *
     * @return iterable<Finding>
     */
    private function protocol(Context $context, string $where): iterable
    {
        if ($context->settings['group_protocol'] !== 'consumer') {
            return;
        }
        foreach ($context->probes as $probe) {
            if (!$probe->isReached() || $probe->hasConsumerProtocol) {
                continue;
            }
            yield Finding::error(
                $where,
                "group.protocol is 'consumer', which the broker $probe->address does not support: no "
                    . 'worker can join the group',
                'Remove group.protocol from consumer_config to use the classic protocol, or use Kafka 4.0 or later.'
            );

            return;
        }
    }

    /**
     * @param list<array<string, mixed>> $members see Admin::group()
     *
     * @return iterable<Finding>
     */
    private function members(Context $context, array $members): iterable
    {
        if ($members === []) {
            return;
        }
        $where = "group $context->group";
        $idle = array_filter($members, static fn (array $member): bool => array_sum(array_map('count', $member['assignment'])) === 0);
        if ($idle !== [] && count($idle) < count($members)) {
            yield Finding::warning(
                $where,
                count($idle) . ' of ' . count($members) . ' members have no partition and are idle',
                'Add partitions (topic_mapping and kafka-topics.sh --alter), or run fewer workers.',
                ['idle' => count($idle)]
            );
        }
        $remedy = 'Start every worker of a group with the same --channels; other channels need another --group.';
        try {
            $found = $context->admin()->subscriptions((string) $context->group);
        } catch (RealtimeException) {
            // Every broker is asked, and one of them may be down; the lag is known nevertheless.
            return;
        }
        ['members' => $topics, 'fingerprints' => $lists] = $found;
        $each = array_unique(array_map(
            static fn (array $topics): string => $topics === [] ? '(nothing)' : Text::names($topics),
            $topics
        ));
        if (count($each) > 1) {
            yield Finding::warning(
                $where,
                'its members subscribe to different topics: ' . implode(' | ', $each),
                $remedy,
                ['subscriptions' => $topics]
            );
        } elseif (count($lists) > 1) {
            yield Finding::warning(
                $where,
                'its members read the same topics with ' . count($lists) . ' different lists of channels: each skips '
                    . 'messages of the channels it does not subscribe to, and the others never receive them',
                "$remedy (Right after a deployment with new channels this resolves itself.)",
                ['lists' => count($lists)]
            );
        }
    }

    /**
     * The group; waits for the end of a rebalance.
     *
     * @return array<string, mixed> see Admin::group()
     */
    private function stableGroup(Context $context): array
    {
        for ($attempt = 1;; $attempt++) {
            try {
                $group = $context->admin()->group($context->group);
            } catch (RealtimeException $e) {
                // A cluster without any group yet finds a coordinator first.
                if ($attempt >= self::ATTEMPTS || stripos($e->getMessage(), 'coordinator') === false) {
                    throw $e;
                }
                usleep($this->pauseMs * 1000);
                continue;
            }
            if ($attempt >= self::ATTEMPTS || !str_contains(strtolower($group['state']), 'rebalanc')) {
                return $group;
            }
            usleep($this->pauseMs * 1000);
        }
    }

    private function waitedSeconds(): string
    {
        return (string) round((self::ATTEMPTS - 1) * $this->pauseMs / 1000, 1);
    }
}
