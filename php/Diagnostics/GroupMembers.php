<?php

/**
 * Checks that the members of a group read the same channels, and that each one has partitions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Diagnostics\Wire\ConnectionClosed;
use Toporia\Realtime\Diagnostics\Wire\WireException;

final class GroupMembers
{
    /**
     * @param array<string, mixed> $group see Admin::group()
     *
     * @return iterable<Finding>
     */
    public static function findings(Context $context, array $group): iterable
    {
        $where = "group $context->group";
        $members = $group['members'];
        $idle = array_filter($members, static fn (array $member): bool => array_sum(array_map('count', $member['assignment'])) === 0);
        if ($idle !== [] && count($idle) < count($members)) {
            yield Finding::warning(
                $where,
                count($idle) . ' of ' . count($members) . ' members have no partition and are idle',
                'Add partitions (topic_mapping and kafka-topics.sh --alter), or run fewer workers.',
                ['idle' => count($idle)]
            );
        }
        [$subscriptions, $metadata] = $members === [] ? [[], []] : self::ask($context, $group);
        if (count(array_unique(array_map(static fn (array $topics): string => implode(',', $topics), $subscriptions))) > 1) {
            $each = array_map(static fn (array $topics): string => $topics === [] ? '(nothing)' : NameList::short($topics), $subscriptions);
            yield Finding::warning(
                $where,
                'its members subscribe to different topics: ' . implode(' | ', array_unique($each)),
                'Start every worker of a group with the same --channels; other channels need another --group.',
                ['subscriptions' => $subscriptions]
            );

            return;
        }
        $hashes = self::hashes($metadata);
        if (count($hashes) > 1) {
            yield Finding::warning(
                $where,
                'its members read the same topics with ' . count($hashes) . ' different lists of channels: each '
                    . 'skips messages of the channels it does not subscribe to, and the others never receive them',
                'Start every worker of a group with the same --channels; other channels need another --group. (Right '
                    . 'after a deployment with new channels this resolves itself.)',
                ['lists' => count($hashes)]
            );
        }
    }

    /**
     * @param array<string, mixed> $group
     *
     * @return array{array<string, list<string>>, array<string, array<int, string>>}
     */
    private static function ask(Context $context, array $group): array
    {
        $coordinator = $group['coordinator'] ?? null;
        if ($coordinator === null) {
            return [[], []];
        }
        $client = $context->probe("{$coordinator['host']}:{$coordinator['port']}")->client;
        try {
            return $client === null ? [[], []] : [$client->subscriptions($context->group), $client->commitMetadata($context->group)];
        } catch (WireException | ConnectionClosed) {
            // Groups of the new protocol have another description; an older broker may not support the request.
            return [[], []];
        }
    }

    /**
     * The distinct subscription hashes in the commit metadata of workers.
     *
     * @param array<string, array<int, string>> $metadata
     *
     * @return list<string>
     */
    private static function hashes(array $metadata): array
    {
        $hashes = [];
        foreach ($metadata as $partitions) {
            foreach ($partitions as $entry) {
                $hash = json_decode($entry, true)['s'] ?? null;
                if (is_string($hash) && $hash !== '') {
                    $hashes[$hash] = true;
                }
            }
        }

        return array_map('strval', array_keys($hashes));
    }
}
