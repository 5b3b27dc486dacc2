<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Creates an object of the application, and recreates it when its lifetime is over or it has expired. A new object gets
 * new dependencies: a handler that keeps a connection is not stuck with one that was closed.
 */
final class ApplicationObject
{
    private ?object $object = null;
    private float $createdAt = 0.0;
    private bool $isExpired = false;

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
        $isOver = $this->isExpired || ($this->lifetime !== null && $now - $this->createdAt >= $this->lifetime);
        if ($this->object !== null && !$isOver) {
            return $this->object;
        }
        try {
            $this->object = ($this->object === null ? $this->make : $this->renew ?? $this->make)($this->class);
        } catch (ConfigurationException $e) {
            throw $this->object === null ? $e : $e->getPrevious() ?? $e;
        }
        $this->createdAt = $now;
        $this->isExpired = false;

        return $this->object;
    }

    /** The object as it is, without recreating it; null before the first get(). */
    public function current(): ?object
    {
        return $this->object;
    }

    /** The next get() recreates the object, with new dependencies. */
    public function expire(): void
    {
        $this->isExpired = true;
    }
}
