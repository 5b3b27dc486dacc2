<?php

/**
 * Parses --header of realtime:kafka:publish: name:value or name=value.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

/**
 * ['x-tenant: 7'] → ['x-tenant' => '7']; the last value wins if a name is repeated.
 */
final class HeaderList
{
    /**
     * @param array<int, mixed> $given
     *
     * @return array<string, string>
     *
     * @throws UsageError no name, or neither a colon nor an equals sign
     */
    public static function parse(array $given): array
    {
        $headers = [];
        foreach ($given as $entry) {
            $text = is_scalar($entry) ? (string) $entry : '';
            if (preg_match('/\A\s*([^:=\s][^:=]*?)\s*[:=]\s*(.*?)\s*\z/s', $text, $match) !== 1) {
                throw new UsageError(
                    '--header=' . OptionValue::shown($entry) . " is not name:value. Example: --header='x-tenant: 7'"
                );
            }
            $headers[$match[1]] = $match[2];
        }

        return $headers;
    }
}
