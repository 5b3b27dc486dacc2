<?php

/**
 * Selects consumer groups: the configured ones, the requested ones, or all.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * Patterns and --all require listing the groups, which the embedded broker does not support.
 */
final class GroupNames
{
    /**
     * @param array<string, mixed> $config the application's `realtime` configuration
     *
     * @return list<string>
     *
     * @throws RealtimeException Kafka does not respond, or refuses to list groups
     */
    public static function of(LagOptions $options, Admin $admin, array $config): array
    {
        if (!$options->all && $options->groups === []) {
            return self::configured($admin->configuration(), $config);
        }
        $patterns = array_filter($options->groups, static fn (string $name): bool => str_contains($name, '*'));
        $names = array_diff($options->groups, $patterns);
        if ($options->all || $patterns !== []) {
            foreach (array_column($admin->groups(), 'group') as $group) {
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
