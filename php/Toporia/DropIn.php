<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

/**
 * Replaces the framework's broker class without changing the framework. The framework has no extension point for
 * brokers: its manager is final and instantiates `Brokers\KafkaBroker` by name, and its commands check for that class.
 * This autoloader, registered before Composer's, aliases our class to that name when it is first used. Requests that do
 * not use Kafka load nothing.
 */
final class DropIn
{
    public const REPLACED = 'Toporia\Framework\Realtime\Brokers\KafkaBroker';
    public const COMMANDS = __NAMESPACE__ . '\Commands\\';

    public static function load(string $class): void
    {
        if ($class === self::REPLACED) {
            class_alias(self::broker(), $class);
        } elseif (str_starts_with($class, self::COMMANDS)) {
            Commands::declare($class);
        }
    }

    /**
     * Our class for the detected generation of the framework.
     *
     * @return class-string<KafkaBroker>
     */
    public static function broker(): string
    {
        return Framework::isNewer() ? HealthCheckableKafkaBroker::class : KafkaBroker::class;
    }
}
