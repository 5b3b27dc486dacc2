<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Console;

use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/**
 * Topic and group of kafka:send and kafka:consume. Defaults to `realtime.raw`; the command line overrides it.
 */
final class RawTopic
{
    /**
     * @param array<string, mixed> $config
     *
     * @throws UsageError no topic is configured
     */
    public static function topic(array $config, mixed $option): string
    {
        return OptionValue::text('--topic', $option) ?? self::configured($config, 'topic') ?? throw new UsageError(
            'No topic is set. Set KAFKA_TOPIC in .env (realtime.raw.topic; re-run php artisan config:cache if cached), '
            . 'or use --topic=orders.'
        );
    }

    /**
     * @param array<string, mixed> $config
     *
     * @throws UsageError an empty option
     */
    public static function group(array $config, mixed $option): string
    {
        return OptionValue::text('--group', $option) ?? self::configured($config, 'group') ?? 'laravel';
    }

    /** @param array<string, mixed> $config */
    private static function configured(array $config, string $key): ?string
    {
        $value = $config['raw'][$key] ?? null;

        return is_string($value) && trim($value) !== '' ? trim($value) : null;
    }
}
