<?php

/**
 * The newer generation's console: a loader knows the commands by name.
 */

declare(strict_types=1);

namespace Toporia\Framework\Console;

use Toporia\Framework\Container\Container;

final class Application
{
    private LazyCommandLoader $loader;

    public function __construct(private Container $container)
    {
        $this->loader = new LazyCommandLoader();
    }

    public function getLoader(): LazyCommandLoader
    {
        return $this->loader;
    }

    public function run(array $argv): int
    {
        return $this->container->get($this->loader->get($argv[1]))->handle();
    }
}
