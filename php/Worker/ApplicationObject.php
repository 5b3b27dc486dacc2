<?php

/**
 * Creates an object of the application, and recreates it when its lifetime is over.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * A new object gets new dependencies: a handler that keeps a connection is not stuck with one that was closed.
 */
final class ApplicationObject
{
    private ?object $object = null;
    private float $createdAt = 0.0;

    /**
     * @param class-string $class
     * @param Closure(class-string): object $make instantiates a class
     * @param int|null $lifetime seconds; 0: a new object for every message; null: unlimited
     * @param (Closure(class-string): object)|null $renew instantiates a class again, with new dependencies; null: as
     *        $make
     */
    public function __construct(
        private string $class,
        private Closure $make,
        private ?int $lifetime,
        private ?Closure $renew = null
    ) {
    }

    /**
     * @throws ConfigurationException the object cannot be created the first time
     * @throws Throwable the object cannot be recreated: the cause, because the class has worked before
     */
    public function get(): object
    {
        $now = hrtime(true) / 1e9;
        if ($this->object !== null && ($this->lifetime === null || $now - $this->createdAt < $this->lifetime)) {
            return $this->object;
        }
        try {
            $this->object = ($this->object === null ? $this->make : $this->renew ?? $this->make)($this->class);
        } catch (ConfigurationException $e) {
            throw $this->object === null ? $e : $e->getPrevious() ?? $e;
        }
        $this->createdAt = $now;

        return $this->object;
    }
}
