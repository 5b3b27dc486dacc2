<?php

/**
 * A provider; the type of the container is where the generations differ.
 */

declare(strict_types=1);

namespace Toporia\Framework\Foundation;

use Toporia\Framework\Container\Container;

abstract class ServiceProvider
{
    public function register(Container $container): void
    {
    }

    public function boot(Container $container): void
    {
    }
}
