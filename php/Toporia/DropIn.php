<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Toporia\Realtime\Console\CommandList;

/**
 * Replaces the framework's broker class without changing the framework. The framework has no extension point for
 * brokers: its manager is final and instantiates `Brokers\KafkaBroker` by name, and its commands check for that class.
 * This autoloader, registered before Composer's, aliases our class to that name when it is first used. Requests that do
 * not use Kafka load nothing.
 *
 * It also declares the classes of our commands in the framework, which makes commands by their class name and gives them
 * nothing that tells which one is meant. These classes differ in name only.
 */
final class DropIn
{
    public const REPLACED = 'Toporia\Framework\Realtime\Brokers\KafkaBroker';
    private const COMMANDS = __NAMESPACE__ . '\Commands\\';

    public static function load(string $class): void
    {
        if ($class === self::REPLACED) {
            class_alias(self::broker(), $class);
        } elseif (str_starts_with($class, self::COMMANDS)) {
            self::declare($class);
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

    /**
     * This package's commands in Toporia.
     *
     * @return array<string, class-string<BridgedCommand>> by name
     */
    public static function commands(): array
    {
        return array_map(
            static fn (string $class): string => self::COMMANDS . substr((string) strrchr($class, '\\'), 1),
            CommandList::CLASSES
        );
    }

    private static function declare(string $class): void
    {
        $name = array_search($class, self::commands(), true);
        if ($name !== false) {
            // The engine has no other way to declare a class with a given name.
            eval('namespace ' . rtrim(self::COMMANDS, '\\') . '; final class ' . substr((string) strrchr($class, '\\'), 1)
                . ' extends \\' . BridgedCommand::class . "{protected string \$signature='$name';}");
        }
    }
}
