<?php

/**
 * A container that creates classes without dependencies.
 */

declare(strict_types=1);

namespace Toporia\Framework\Container;

final class Container
{
    /** @var array<string, object> */
    private array $made = [];

    public function instance(string $id, object $object): void
    {
        $this->made[$id] = $object;
    }

    public function has(string $id): bool
    {
        return isset($this->made[$id]);
    }

    public function get(string $id): object
    {
        return $this->made[$id] ??= new $id();
    }
}
