<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Toporia\Realtime\Exception\RealtimeException;

/**
 * The "Realtime" section of `php artisan about` (Laravel 9.21 and later). Shows the configuration without connecting,
 * and without secrets.
 */
final class About
{
    /** @return array<string, string> */
    public static function lines(): array
    {
        $config = (array) config('realtime');
        $name = (string) ($config['default_broker'] ?? 'kafka');
        $broker = (array) ($config['brokers'][$name] ?? []);
        $addresses = $broker['brokers'] ?? '';
        $spool = $config['spool'] ?? false;

        return [
            'Extension' => phpversion('toporia_realtime') ?: 'missing',
            'Configuration' => self::state($config),
            'Broker' => $name . ' at ' . (is_array($addresses) ? implode(',', $addresses) : $addresses),
            'Topic prefix' => (string) ($broker['topic_prefix'] ?? ''),
            'Consumer group' => (string) ($broker['consumer_group'] ?? ''),
            'Broadcasts through it' => config('broadcasting.default') === 'kafka' ? 'yes' : 'no',
            'Spool' => is_string($spool) && $spool !== '' ? $spool : 'off',
        ];
    }

    /** @param array<string, mixed> $config */
    private static function state(array $config): string
    {
        try {
            Configuration::applyOrThrow($config);
        } catch (RealtimeException $e) {
            return $e->getMessage();
        }

        return 'valid';
    }
}
