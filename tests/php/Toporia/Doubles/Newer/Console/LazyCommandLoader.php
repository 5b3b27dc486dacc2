<?php

/**
 * Commands by name, created when they run.
 */

declare(strict_types=1);

namespace Toporia\Framework\Console;

final class LazyCommandLoader
{
    /** @var array<string, class-string> */
    private array $commands = [];

    public function register(string $name, string $class): void
    {
        $this->commands[$name] = $class;
    }

    public function get(string $name): string
    {
        return $this->commands[$name];
    }
}
