<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Closure;
use Symfony\Component\Console\Input\InputOption;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\ConsumeOptions;

/**
 * The services that commands need from the application they run in: PlainHost for ./console, others for the frameworks.
 */
abstract class Host
{
    /**
     * The application's `realtime` configuration, applied to the extension; empty if there is none.
     *
     * @return array<string, mixed>
     *
     * @throws ConfigurationException it is invalid: a command must not go on with the settings that are left
     */
    abstract public function config(): array;

    /**
     * The array passed to Realtime::configure() in this host. Never throws: realtime:doctor inspects a configuration
     * that is rejected too.
     *
     * @return array<string, mixed>
     */
    abstract public function inspectedConfig(): array;

    /** The application's root directory; part of the default name of the restart file. */
    abstract public function directory(): string;

    /**
     * Creates an object of an application class, with constructor injection.
     *
     * @param class-string $class
     *
     * @throws ConfigurationException the object cannot be created
     */
    abstract public function make(string $class): object;

    /** The reason why the configuration could not be loaded; null if it was loaded. */
    public function loadError(): ?string
    {
        return null;
    }

    /**
     * Same as make(), with new dependencies, in hosts whose make() returns shared objects.
     *
     * @param class-string $class
     *
     * @throws ConfigurationException the object cannot be created
     */
    public function renew(string $class): object
    {
        return $this->make($class);
    }

    /**
     * The host's default for messages without a handler; null if it has none.
     *
     * @return (Closure(Message): void)|null
     */
    public function fallback(): ?Closure
    {
        return null;
    }

    /** The default of --handler-lifetime; 0 in frameworks whose container has a scope per request or job. */
    public function handlerLifetime(): ?int
    {
        return null;
    }

    /**
     * The framework's options that realtime:kafka:consume does not have: scripts and supervisor files that call the
     * framework's command keep working with the one of this package.
     *
     * @return list<InputOption>
     */
    public function consumeOptions(): array
    {
        return [];
    }

    /**
     * Translates these options to those of realtime:kafka:consume.
     *
     * @param array<string, mixed> $options all given options by name
     *
     * @return array<string, mixed>
     */
    public function translateOptions(array $options): array
    {
        return $options;
    }

    /**
     * A listener for failed attempts of a worker that is about to start, for frameworks with events and logs.
     *
     * @return (Closure(Message, Throwable, ?int): void)|null third argument: ms until the next attempt; null: given up
     */
    public function failureListener(ConsumeOptions $options): ?Closure
    {
        return null;
    }
}
