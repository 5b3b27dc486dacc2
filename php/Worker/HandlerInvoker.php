<?php

/**
 * One handler of the application, ready to be called for a message.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use ReflectionMethod;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

/**
 * A class with `handle(Message $message): void` and perhaps `failed(Message $message, Throwable $e): void`, which is told once,
 * when a message is given up: not after each try.
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
 * The object is made for the first message and kept; the class is looked at earlier, so that a mistake shows at once.
 */
final class HandlerInvoker
{
    private ?object $object;

    /**
     * @param class-string|object $handler a class, an object, or a closure
     * @param Closure(class-string): object $make makes the object of a class
     * @param string $where where it was named, for errors: `--handler` or `realtime.handlers['order.*']`
     *
     * @throws ConfigurationException no such class, or no handle() in it
     */
    public function __construct(
        private mixed $handler,
        private Closure $make,
        private MiddlewarePipeline $middleware,
        private string $where
    ) {
        if (!is_object($handler) && !(is_string($handler) && class_exists($handler))) {
            throw new ConfigurationException(
                "$where: there is no class " . OptionValue::shown($handler) . '. Is the name complete with its '
                . 'namespace (quote the backslashes in a shell), and can it be autoloaded?'
            );
        }
        if (!$handler instanceof Closure && !self::hasHandle($handler)) {
            $class = is_object($handler) ? $handler::class : $handler;
            throw new ConfigurationException(
                "$where: $class has no public method handle(Message \$message): void."
            );
        }
        $this->object = is_object($handler) ? $handler : null;
    }

    /**
     * Makes the object now, to find out early that it cannot be made.
     */
    public function prepare(): self
    {
        $this->object();

        return $this;
    }

    /**
     * Hands it a message through the middleware.
     *
     * @throws Throwable what the handler or a middleware threw
     */
    public function __invoke(Message $message): void
    {
        $object = $this->object();
        $call = $object instanceof Closure ? $object : [$object, 'handle'];
        $this->middleware->run($message, $call);
    }

    /**
     * Tells its failed(), where it has one, that there is no other try for this message.
     */
    public function failed(Message $message, Throwable $e): void
    {
        $object = $this->object();
        if ($object instanceof Closure || !is_callable([$object, 'failed'])) {
            return;
        }
        try {
            $object->failed($message, $e);
        } catch (Throwable $second) {
            // The first failure is the one to act on; this one must not hide it, nor vanish.
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
        return $this->object ??= ($this->make)($this->handler);
    }

    private static function hasHandle(string|object $handler): bool
    {
        // is_callable() says no to an instance method named by its class.
        return method_exists($handler, 'handle') && (new ReflectionMethod($handler, 'handle'))->isPublic();
    }
}
