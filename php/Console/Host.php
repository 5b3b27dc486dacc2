<?php

/**
 * What the commands need from the application they run in.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Closure;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

/**
 * One implementation for each host: PlainHost for ./console, others for frameworks.
 */
interface Host
{
    /**
     * The application's `realtime` configuration; an empty array where there is none.
     *
     * @return array<string, mixed>
     */
    public function config(): array;

    /**
     * Where the application lives; workers and realtime:restart find each other by it.
     */
    public function directory(): string;

    /**
     * Makes an object of an application's class, with what its constructor asks for.
     *
     * @param class-string $class
     *
     * @throws ConfigurationException it cannot be made
     */
    public function make(string $class): object;

    /**
     * What this host does with a message that the application has no handler for; null: nothing of its own.
     *
     * @return (Closure(Message): void)|null
     */
    public function fallback(): ?Closure;
}
