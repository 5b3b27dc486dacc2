<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Closure;
use ReflectionClass;
use ReflectionNamedType;
use ReflectionParameter;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * A small autowiring container for plain PHP: creates handlers, middleware and commands. get(), has() and bind() as in
 * other containers. Every object is a singleton.
 *
 *     $container->bind(PDO::class, fn (Container $c) => new PDO(getenv('DB_DSN')));
 *     $container->bind(Orders::class, SqlOrders::class);
 *     $container->get(OrderHandler::class);   // its constructor gets both, by type
 */
final class Container
{
    /** @var array<string, mixed> a factory closure, the name of a class, or the object */
    private array $bindings = [];
    /** @var array<string, object> */
    private array $instances = [];
    /** @var list<string> the ids being built, to detect circular dependencies */
    private array $building = [];

    public function __construct()
    {
        $this->instances[self::class] = $this;
    }

    /**
     * Registers a binding.
     *
     * @param string $id a class or an interface
     * @param Closure(Container): object|object|string $what a factory, the object itself, or the name of a class
     */
    public function bind(string $id, object|string $what): static
    {
        unset($this->instances[$id]);
        $this->bindings[$id] = $what;

        return $this;
    }

    /** True if get() can resolve the id: it is bound, or a class that can be instantiated. */
    public function has(string $id): bool
    {
        return isset($this->instances[$id]) || isset($this->bindings[$id])
            || class_exists($id) && (new ReflectionClass($id))->isInstantiable();
    }

    /**
     * Resolves a class or an interface.
     *
     * @throws ConfigurationException it cannot be created; the message names the class and the parameter
     */
    public function get(string $id): object
    {
        if (isset($this->instances[$id])) {
            return $this->instances[$id];
        }
        if (in_array($id, $this->building, true)) {
            throw new ConfigurationException(
                "Cannot create $id: circular dependency (" . implode(' → ', [...$this->building, $id]) . ').'
            );
        }
        $this->building[] = $id;
        try {
            return $this->instances[$id] = $this->make($id);
        } finally {
            array_pop($this->building);
        }
    }

    /** Forgets all objects that were created: get() creates them again. Objects passed to bind() are kept. */
    public function forgetInstances(): void
    {
        $this->instances = [self::class => $this];
    }

    private function make(string $id): object
    {
        $bound = $this->bindings[$id] ?? null;
        if ($bound instanceof Closure) {
            $instance = $bound($this);
            if (!is_object($instance)) {
                throw new ConfigurationException(
                    "The binding of $id returned " . get_debug_type($instance) . '; it must return an object.'
                );
            }

            return $instance;
        }
        if (is_object($bound)) {
            return $bound;
        }
        if (is_string($bound) && $bound !== $id) {
            return $this->get($bound);
        }

        return $this->build($id);
    }

    private function build(string $id): object
    {
        if (!class_exists($id)) {
            throw new ConfigurationException(
                interface_exists($id)
                    ? "Cannot create $id: it is an interface. Bind an implementation in 'bindings' of "
                        . 'config/realtime.php.'
                    : "Cannot create $id: class not found. Can it be autoloaded?"
            );
        }
        $class = new ReflectionClass($id);
        if (!$class->isInstantiable()) {
            throw new ConfigurationException("Cannot create $id: it is abstract, or its constructor is not public.");
        }
        $arguments = [];
        foreach ($class->getConstructor()?->getParameters() ?? [] as $parameter) {
            if (!$parameter->isVariadic()) {
                $arguments[] = $this->argument($id, $parameter);
            }
        }

        return $class->newInstanceArgs($arguments);
    }

    private function argument(string $id, ReflectionParameter $parameter): mixed
    {
        $type = $parameter->getType();
        $name = $type instanceof ReflectionNamedType && !$type->isBuiltin() ? $type->getName() : null;
        if ($name !== null) {
            try {
                return $this->get($name);
            } catch (ConfigurationException $e) {
                if (!$parameter->isOptional() && !$parameter->allowsNull()) {
                    throw $e;
                }
            }
        }
        if ($parameter->isDefaultValueAvailable()) {
            return $parameter->getDefaultValue();
        }
        if ($parameter->allowsNull() && $type !== null) {
            return null;
        }
        throw new ConfigurationException(
            "Cannot create $id: the parameter \${$parameter->getName()}" . ($type === null ? '' : " ($type)")
            . " of its constructor has no default. Bind a factory in 'bindings' of config/realtime.php: "
            . "$id::class => fn (\$container) => new $id(…)"
        );
    }
}
