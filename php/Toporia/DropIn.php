<?php

/**
 * Puts our broker in the place of the framework's, without touching the framework.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

/**
 * The framework has no extension point for brokers: its manager is final and makes `Brokers\KafkaBroker` by that
 * name, and its commands check for that class. So this autoloader, which comes before Composer's, gives the name to
 * ours when the framework first asks for it. Nothing is loaded in a request that uses no Kafka.
 */
final class DropIn
{
    public const REPLACED = 'Toporia\Framework\Realtime\Brokers\KafkaBroker';

    public static function load(string $class): void
    {
        if ($class === self::REPLACED) {
            class_alias(self::broker(), $class);
        }
    }

    /**
     * Ours for the generation of the framework at hand.
     *
     * @return class-string<KafkaBroker>
     */
    public static function broker(): string
    {
        return Framework::isNewer() ? HealthCheckableKafkaBroker::class : KafkaBroker::class;
    }
}
