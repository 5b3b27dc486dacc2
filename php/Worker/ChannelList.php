<?php

/**
 * Parses --channels and --ws-channels: a comma-separated list, or the option repeated.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * `user.1,order.*` → ['user.1', 'order.*']: each name once, in the given order.
 */
final class ChannelList
{
    /**
     * @param mixed $value a string, a list of strings, or null if the option is absent
     * @param string $option the option's name, with dashes
     *
     * @return non-empty-list<string>
     *
     * @throws UsageError no value, or an empty name in the list
     */
    public static function parse(mixed $value, string $option = '--channels'): array
    {
        $given = is_array($value) ? $value : ($value === null ? [] : [$value]);
        if ($given === []) {
            throw new UsageError("$option is required, for example $option=user.1,order.*");
        }
        $channels = [];
        foreach ($given as $list) {
            foreach (explode(',', is_scalar($list) ? (string) $list : '') as $channel) {
                $channel = trim($channel);
                if ($channel === '') {
                    $shown = OptionValue::shown($list);
                    throw new UsageError("$option=$shown has an empty name. Example: $option=user.1,order.*");
                }
                $channels[$channel] = true;
            }
        }

        return array_map('strval', array_keys($channels));
    }
}
