<?php

/**
 * Hands config('realtime') to the extension.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Illuminate\Container\Container;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;

/**
 * Connects nothing. A configuration that the extension refuses must not take down pages that broadcast nothing, nor the
 * artisan command that shows it: then every broadcast throws what is wrong with it.
 */
final class Configuration
{
    /** Keys that are for the PHP layer alone. */
    private const OWN = ['handlers', 'middleware', 'commands', 'bindings', 'restart_file', 'log', 'raw'];

    private static bool $refused = false;

    /**
     * @param array<string, mixed> $config
     */
    public static function apply(array $config): void
    {
        try {
            self::applyOrThrow($config);
            if (self::$refused) {
                // An application was booted again in this process, as tests do it.
                self::$refused = false;
                Realtime::restore();
            }
        } catch (ConfigurationException $e) {
            self::$refused = true;
            Realtime::swap(new RefusedConfiguration($e));
        }
    }

    /**
     * @param array<string, mixed> $config
     *
     * @throws ConfigurationException what is wrong with it
     */
    public static function applyOrThrow(array $config): void
    {
        $settings = self::native($config);
        foreach (['logger', 'tracing'] as $key) {
            // A cached configuration has no objects in it: classes are named there.
            if (is_string($settings[$key] ?? null) && class_exists($settings[$key])) {
                $settings[$key] = Container::getInstance()->make($settings[$key]);
            }
        }
        if (($config['log'] ?? null) !== false) {
            $settings['logger'] ??= self::log(...);
        }
        Realtime::configure($settings);
    }

    /**
     * Where the extension's own lines go: the channel of `realtime.log`, made when there is something to say.
     *
     * @param array<string, mixed> $context
     */
    private static function log(string $level, string $text, array $context): void
    {
        Container::getInstance()->make(Log::class)->write($level, $text, $context);
    }

    /**
     * What of it is for the extension.
     *
     * @param array<string, mixed> $config
     *
     * @return array<string, mixed>
     */
    public static function native(array $config): array
    {
        return array_diff_key($config, array_flip(self::OWN));
    }
}
