<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use ReflectionMethod;
use Throwable;
use Toporia\Realtime\Support\Environment;

/**
 * Interprets Toporia's config/realtime.php as its own broker would, so that channels keep their topics. The framework's
 * defaults are grouped topics with a default mapping, and dots kept in `one-per-channel`. For the topics of its guides
 * (`realtime_user_1`) set `topic_strategy` to `one-per-channel-underscores`.
 */
final class Configuration
{
    private const FACTORY = 'Toporia\Framework\Realtime\Brokers\Kafka\TopicStrategy\TopicStrategyFactory';

    /** The framework's default mapping, used if its class is not available; topics without the prefix. */
    private const MAPPING = ['user.*' => ['user', 10], 'public.*' => ['public', 3], 'presence-*' => ['presence', 5],
        'chat.*' => ['chat', 10]];

    /**
     * The complete array for Realtime::configure().
     *
     * @param array<string, mixed> $realtime
     *
     * @return array<string, mixed>
     */
    public static function application(array $realtime): array
    {
        $realtime = Environment::withoutComments($realtime);
        $kafka = [];
        foreach ((array) ($realtime['brokers'] ?? []) as $name => $broker) {
            if (is_array($broker) && self::isKafka((string) ($broker['driver'] ?? $name))) {
                $kafka[$name] = self::broker($broker);
            }
        }
        if ($kafka === []) {
            return array_diff_key($realtime, ['brokers' => true, 'default_broker' => true]);
        }
        // An application whose default broker is Redis may still use Kafka through Realtime::broadcast().
        $default = $realtime['default_broker'] ?? null;
        $default = is_string($default) && isset($kafka[$default]) ? $default : (string) array_key_first($kafka);

        return ['brokers' => $kafka, 'default_broker' => $default] + $realtime;
    }

    /**
     * The configuration of one broker for `new Broker()`.
     *
     * @param array<string, mixed> $config
     *
     * @return array<string, mixed>
     */
    public static function broker(array $config): array
    {
        if (!Framework::isPresent()) {
            return $config;
        }
        $config = Environment::withoutComments($config);
        $strategy = $config['topic_strategy'] ?? '';
        $strategy = $strategy === '' ? 'grouped' : $strategy;
        $config['topic_strategy'] = match ($strategy) {
            'one-per-channel' => Framework::keepsDots() ? 'one-per-channel-dots' : 'one-per-channel',
            'one-per-channel-underscores' => 'one-per-channel',
            default => $strategy,
        };
        if ($strategy !== 'grouped') {
            unset($config['topic_mapping']);

            return $config;
        }
        $prefix = $config['topic_prefix'] ?? '';
        $prefix = is_string($prefix) && $prefix !== '' ? $prefix : 'realtime';
        $mapping = $config['topic_mapping'] ?? self::defaultMapping($prefix);
        $config['topic_mapping'] = is_array($mapping) ? self::patterns($mapping) : $mapping;
        $config['default_partitions'] ??= 10;

        return $config;
    }

    private static function isKafka(string $driver): bool
    {
        return str_replace(['-improved', '-hp'], '', $driver) === 'kafka';
    }

    /** @return array<string, mixed> */
    private static function defaultMapping(string $prefix): array
    {
        try {
            // Ask the framework, because its default mapping differs between releases, and a channel must keep its
            // topic.
            $mapping = (new ReflectionMethod(self::FACTORY, 'getDefaultTopicMapping'))->invoke(null, $prefix);
            if (is_array($mapping)) {
                return $mapping;
            }
        } catch (Throwable) {
            // An older or newer framework: use the mapping that all known releases share.
        }

        return array_map(
            static fn (array $entry): array => ['topic' => "$prefix.$entry[0]", 'partitions' => $entry[1]],
            self::MAPPING
        );
    }

    /**
     * In the older generation `*` matches any number of segments, like our `**`.
     *
     * @param array<string, mixed> $mapping
     *
     * @return array<string, mixed>
     */
    private static function patterns(array $mapping): array
    {
        if (Framework::isNewer()) {
            return $mapping;
        }
        $patterns = [];
        foreach ($mapping as $pattern => $entry) {
            $patterns[(string) preg_replace('/\*+/', '**', (string) $pattern)] = $entry;
        }

        return $patterns;
    }
}
