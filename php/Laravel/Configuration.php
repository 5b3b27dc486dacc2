<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Illuminate\Container\Container;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;

/**
 * Passes config('realtime') to the extension. Does not connect. A rejected configuration must not break pages that
 * broadcast nothing, nor the artisan command that diagnoses it; instead, every broadcast throws the configuration
 * error.
 */
final class Configuration
{
    /** Keys used only by the PHP layer. */
    private const OWN = ['handlers', 'middleware', 'commands', 'bindings', 'restart_file', 'log', 'raw'];

    private static bool $refused = false;

    /** @param array<string, mixed> $config */
    public static function apply(array $config): void
    {
        try {
            self::applyOrThrow($config);
            if (self::$refused) {
                // The application was booted again in this process, as in tests.
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
     * @throws ConfigurationException the configuration is invalid
     */
    public static function applyOrThrow(array $config): void
    {
        $settings = self::native($config);
        foreach (['logger', 'tracing'] as $key) {
            // A cached configuration cannot contain objects, so classes are given by name.
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
     * Writes the extension's own messages to the channel of `realtime.log`, created on first use.
     *
     * @param array<string, mixed> $context
     */
    private static function log(string $level, string $text, array $context): void
    {
        Container::getInstance()->make(Log::class)->write($level, $text, $context);
    }

    /**
     * The part of the configuration that the extension reads.
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
