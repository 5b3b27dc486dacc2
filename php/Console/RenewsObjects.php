<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Toporia\Realtime\Exception\ConfigurationException;

/**
 * A host that can create an object again together with its dependencies. Implemented by hosts whose make() returns
 * shared objects.
 */
interface RenewsObjects
{
    /**
     * Creates a new object of an application class, with new dependencies.
     *
     * @param class-string $class
     *
     * @throws ConfigurationException the object cannot be created
     */
    public function renew(string $class): object;
}
