<?php

/**
 * The older generation's console: classes are registered, the last one of a name wins.
 */

declare(strict_types=1);

namespace Toporia\Framework\Console;

use Toporia\Framework\Container\Container;

final class Application
{
    /** @var array<string, class-string> */
    private array $registry = [];

    public function __construct(private Container $container)
    {
    }

    public function register(string $class): void
    {
        $this->registry[$this->container->get($class)->getName()] = $class;
    }

    public function run(array $argv): int
    {
        return $this->container->get($this->registry[$argv[1]])->handle();
    }
}
