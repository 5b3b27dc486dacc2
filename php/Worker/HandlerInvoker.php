<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use ReflectionMethod;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

/**
 * Calls one handler of the application, through the middleware. A handler is a class with `handle(Message $message):
 * void` and optionally `failed(Message $message, Throwable $e): void`, which is called once, when the message is given
 * up: not after each attempt.
 *
 *     final class OrderHandler
 *     {
 *         public function __construct(private Orders $orders) {}
 *
 *         public function handle(Message $message): void
 *         {
 *             $this->orders->markPaid($message->getData()['id']);
 *         }
 *     }
 *
 * The handler is instantiated for the first message and kept for its lifetime. Its class is checked earlier, so that
 * mistakes surface at start.
 */
final class HandlerInvoker
{
    private object $object;

    /**
     * @param class-string|object $handler a class, an object, or a closure
     * @param Closure(class-string): ApplicationObject $objects creates the object of a class
     * @param string $where the setting or option that named it, for errors: `--handler` or
     *        `realtime.handlers['order.*']`
     *
     * @throws ConfigurationException the class does not exist or has no handle()
     */
    public function __construct(
        mixed $handler,
        Closure $objects,
        private MiddlewarePipeline $middleware,
        string $where
    ) {
        if (!is_object($handler) && !(is_string($handler) && class_exists($handler))) {
            throw new ConfigurationException(
                "$where: class " . OptionValue::shown($handler) . ' not found. Is the name fully qualified '
                . '(quote backslashes in a shell), and can it be autoloaded?'
            );
        }
        if (!$handler instanceof Closure && !self::hasHandle($handler)) {
            $class = is_object($handler) ? $handler::class : $handler;
            throw new ConfigurationException("$where: $class has no public method handle(Message \$message): void.");
        }
        $this->object = is_object($handler) ? $handler : $objects($handler);
    }

    /** Instantiates the handler now, so that a failure shows at start. */
    public function prepare(): self
    {
        $this->object();

        return $this;
    }

    /**
     * Passes a message through the middleware to the handler.
     *
     * @throws Throwable thrown by the handler or a middleware
     */
    public function __invoke(Message $message): void
    {
        // The middleware runs first: it may prepare what the handler is created with.
        $this->middleware->run($message, function (Message $message): mixed {
            $object = $this->object();

            return $object instanceof Closure ? $object($message) : $object->handle($message);
        });
    }

    /** Calls the handler's failed() method, if it has one: the message will not be retried. */
    public function failed(Message $message, Throwable $e): void
    {
        // The object that failed: a new one might not be possible, as long as what it needs is away.
        $object = ($this->object instanceof ApplicationObject ? $this->object->current() : null) ?? $this->object();
        if ($object instanceof Closure || !is_callable([$object, 'failed'])) {
            return;
        }
        try {
            $object->failed($message, $e);
        } catch (Throwable $second) {
            // Log it: the first failure is the one to act on and must not be hidden, but this one must not be lost
            // either.
            Realtime::log('error', sprintf(
                '%s::failed() threw %s itself: %s (for message %s)',
                get_debug_type($object),
                $second::class,
                $second->getMessage(),
                $message->getId()
            ));
        }
    }

    private function object(): object
    {
        return $this->object instanceof ApplicationObject ? $this->object->get() : $this->object;
    }

    private static function hasHandle(string|object $handler): bool
    {
        // is_callable() returns false for an instance method given by class name.
        return method_exists($handler, 'handle') && (new ReflectionMethod($handler, 'handle'))->isPublic();
    }
}
