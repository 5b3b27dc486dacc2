<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * Reads snapshots of consumer groups: commits, end offsets and members. Groups and topics are requested in batches: a
 * thousand groups take a few dozen requests.
 */
final class LagReader
{
    private const GROUPS_BATCH_SIZE = 200;
    private const TOPICS_BATCH_SIZE = 500;

    public function __construct(private Admin $admin)
    {
    }

    /**
     * @param list<string> $groups
     *
     * @return array<string, GroupSnapshot> by name
     *
     * @throws RealtimeException Kafka does not respond, or rejects the request
     */
    public function read(array $groups): array
    {
        $commits = $described = [];
        foreach (array_chunk($groups, self::GROUPS_BATCH_SIZE) as $some) {
            $commits += $this->admin->offsetsOfGroups($some);
            $described += $this->described($some) ?? [];
        }
        $spans = $this->spans($commits, $described);
        $snapshots = [];
        foreach ($groups as $group) {
            $snapshots[$group] = self::group($group, $commits[$group], $described[$group] ?? null, $spans);
        }

        return $snapshots;
    }

    /**
     * @param list<string> $groups
     *
     * @return array<string, array<string, mixed>>|null null: the embedded broker, which does not describe groups
     */
    private function described(array $groups): ?array
    {
        try {
            return $this->admin->describeGroups($groups);
        } catch (ConfigurationException) {
            return null;
        }
    }

    /**
     * The offset ranges of all topics of the groups.
     *
     * @param array<string, array{error: ?string, offsets: array<string, array<int, int>>}> $commits
     * @param array<string, array<string, mixed>> $described
     *
     * @return array<string, array{error: ?string, partitions: array<int, array{beginning: int, end: int}>}>
     */
    private function spans(array $commits, array $described): array
    {
        $topics = [];
        foreach ($commits as ['offsets' => $offsets]) {
            $topics += $offsets;
        }
        foreach ($described as ['members' => $members]) {
            foreach ($members as ['assignment' => $assignment]) {
                $topics += $assignment;
            }
        }
        $spans = [];
        foreach (array_chunk(array_map('strval', array_keys($topics)), self::TOPICS_BATCH_SIZE) as $some) {
            $spans += $this->admin->offsetsOfTopics($some);
        }

        return $spans;
    }

    /**
     * @param array{error: ?string, offsets: array<string, array<int, int>>} $commits
     * @param array<string, mixed>|null $described
     * @param array<string, array{error: ?string, partitions: array<int, array{beginning: int, end: int}>}> $spans
     */
    private static function group(string $group, array $commits, ?array $described, array $spans): GroupSnapshot
    {
        $error = $commits['error'] ?? $described['error'] ?? null;
        if ($error !== null) {
            return new GroupSnapshot($group, $error);
        }
        $topics = $commits['offsets'];
        foreach ($described['members'] ?? [] as $member) {
            $topics += array_fill_keys(array_keys($member['assignment']), []);
        }
        ksort($topics);
        $partitions = $deleted = $errors = [];
        foreach ($topics as $topic => $committed) {
            $span = $spans[$topic] ?? null;
            if ($span === null) {
                $deleted[] = (string) $topic;
                continue;
            }
            if ($span['error'] !== null) {
                $errors[(string) $topic] = $span['error'];
            }
            foreach ($span['partitions'] as $partition => ['beginning' => $beginning, 'end' => $end]) {
                $offset = $committed[$partition] ?? null;
                $partitions[] = new PartitionLag((string) $topic, $partition, $offset, $beginning, $end);
            }
        }

        return new GroupSnapshot(
            $group,
            null,
            $described['state'] ?? null,
            $described['members'] ?? null,
            $partitions,
            $deleted,
            $errors
        );
    }

    /**
     * The names of the requested groups. Patterns and --all require listing the groups, which the embedded broker does not
     * support.
     *
     * @param array<string, mixed> $config the application's `realtime` configuration
     *
     * @return list<string>
     *
     * @throws RealtimeException Kafka does not respond, or refuses to list groups
     */
    public function groups(LagOptions $options, array $config): array
    {
        if (!$options->all && $options->groups === []) {
            return self::configured($this->admin->configuration(), $config);
        }
        $patterns = array_filter($options->groups, static fn (string $name): bool => str_contains($name, '*'));
        $names = array_diff($options->groups, $patterns);
        if ($options->all || $patterns !== []) {
            foreach (array_column($this->admin->groups(), 'group') as $group) {
                if ($options->all || self::matchesAny((string) $group, $patterns)) {
                    $names[] = (string) $group;
                }
            }
        }

        return array_values(array_unique($names));
    }

    /**
     * The groups of all configured brokers that use this Kafka.
     *
     * @param array<string, mixed> $settings Admin::configuration() of this broker
     * @param array<string, mixed> $config
     *
     * @return list<string>
     */
    private static function configured(array $settings, array $config): array
    {
        $groups = [$settings['consumer_group']];
        foreach (array_keys((array) ($config['brokers'] ?? [])) as $broker) {
            try {
                $other = (new Admin(['broker' => (string) $broker]))->configuration();
            } catch (RealtimeException) {
                // Another type of broker, such as Redis, or an incomplete configuration.
                continue;
            }
            if ($other['brokers'] === $settings['brokers']) {
                $groups[] = $other['consumer_group'];
            }
        }

        return array_values(array_unique($groups));
    }

    /** @param array<int, string> $patterns `*` matches any text */
    private static function matchesAny(string $group, array $patterns): bool
    {
        foreach ($patterns as $pattern) {
            $regex = strtr(preg_quote($pattern, '~'), ['\*' => '.*']);
            if (preg_match("~\\A$regex\\z~s", $group) === 1) {
                return true;
            }
        }

        return false;
    }
}
