<?php

/**
 * A provider; the generations differ in the type of the container.
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
