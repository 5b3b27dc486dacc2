<?php

/**
 * Checks the members of the consumer group.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\GroupMembers;
use Toporia\Realtime\Diagnostics\Wire\ConnectionClosed;
use Toporia\Realtime\Diagnostics\Wire\WireException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\Text;

final class GroupCheck implements Check
{
    /** Number of checks, a second apart, after which a rebalance is reported. */
    private const ATTEMPTS = 4;

    /**
     * @param int $pauseMs pause between two checks of a rebalancing group, in ms
     */
    public function __construct(private int $pauseMs = 1000)
    {
    }

    public function name(): string
    {
        return 'group';
    }

    public function title(): string
    {
        return 'Consumer group';
    }

    public function needs(): array
    {
        return ['client', 'admin', 'group-access'];
    }

    public function run(Context $context): iterable
    {
        $where = "group $context->group";
        yield from $this->protocol($context, $where);
        try {
            $group = $this->stableGroup($context);
        } catch (RealtimeException $e) {
            $context->block($this->name(), "Kafka does not describe the group $context->group");
            yield Finding::error($where, $e->getMessage(), 'Is the coordinator of the group (a broker) up? '
                . "`kafka-consumer-groups.sh --describe --group $context->group` sends the same request.");

            return;
        }
        $state = strtolower(strtr($group['state'], ['_' => '', ' ' => '']));
        $members = count($group['members']);
        $context->hasMembers = $members > 0;
        $facts = ['group' => $context->group, 'state' => $group['state'], 'members' => $members];
        $start = "Start a worker: realtime:kafka:consume --group=$context->group --channels=…, or check why its "
            . "supervisor "
            . 'does not keep it running.';
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
        yield from GroupMembers::findings($context, $group);
    }

    /**
     * The new group protocol on brokers that do not have it: every worker ends with an exception.
     *
     * @return iterable<Finding>
     */
    private function protocol(Context $context, string $where): iterable
    {
        if ($context->settings->groupProtocol() !== 'consumer') {
            return;
        }
        foreach ($context->probes as $probe) {
            try {
                if ($probe->client === null || $probe->client->supportsConsumerProtocol($context->group)) {
                    continue;
                }
            } catch (ConnectionClosed | WireException) {
                continue;
            }
            yield Finding::error(
                $where,
                "group.protocol is 'consumer', which the broker $probe->address does not support or has disabled: no "
                    . 'worker can join the group',
                'Remove group.protocol from consumer_config to use the classic protocol, or use Kafka 4.0 or later with '
                    . 'consumer in group.coordinator.rebalance.protocols.'
            );

            return;
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
            $group = $context->admin()->group($context->group);
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
