<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Closure;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

/**
 * The services that commands need from the application they run in. One implementation per host: PlainHost for
 * ./console, others for the frameworks.
 */
interface Host
{
    /**
     * The application's `realtime` configuration; empty if there is none.
     *
     * @return array<string, mixed>
     */
    public function config(): array;

    /**
     * The application's root directory; part of the default name of the restart file.
     */
    public function directory(): string;

    /**
     * Creates an object of an application class, with constructor injection.
     *
     * @param class-string $class
     *
     * @throws ConfigurationException the object cannot be created
     */
    public function make(string $class): object;

    /**
     * The host's default for messages without a handler; null if it has none.
     *
     * @return (Closure(Message): void)|null
     */
    public function fallback(): ?Closure;
}
