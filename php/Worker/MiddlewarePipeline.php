<?php

/**
 * Wraps every call of a handler in the application's middleware.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

/**
 * A middleware is a class with `handle(Message $message, callable $next): void`, or a callable with that signature.
 *
 *     public function handle(Message $message, callable $next): void
 *     {
 *         $start = hrtime(true);
 *         $next($message);
 *         $this->metrics->timing($message->getEvent(), hrtime(true) - $start);
 *     }
 *
 * The first in the list is the outermost. A middleware that does not call $next has handled the message itself.
 */
final class MiddlewarePipeline
{
    /** @var list<callable(Message, callable): void>|null */
    private ?array $ready = null;

    /**
     * @param array<mixed> $middleware classes, objects, callables
     * @param Closure(class-string): object $make instantiates a class
     *
     * @throws ConfigurationException an invalid entry
     */
    public function __construct(private array $middleware, private Closure $make)
    {
        foreach ($middleware as $i => $entry) {
            if (is_callable($entry)) {
                continue;
            }
            $known = is_object($entry) || is_string($entry) && class_exists($entry);
            if (!$known || !method_exists($entry, 'handle') && !method_exists($entry, '__invoke')) {
                throw new ConfigurationException(
                    "realtime.middleware[$i]: " . (is_object($entry) ? $entry::class : OptionValue::shown($entry))
                    . ($known ? ' has no method handle(Message $message, callable $next).' : ' is not an existing class.')
                );
            }
        }
    }

    /**
     * @param callable(Message): void $handler
     */
    public function run(Message $message, callable $handler): void
    {
        $this->ready ??= array_map($this->callable(...), array_values($this->middleware));
        $next = $handler;
        foreach (array_reverse($this->ready) as $layer) {
            $next = static fn (Message $message) => $layer($message, $next);
        }
        $next($message);
    }

    private function callable(mixed $entry): callable
    {
        if (is_callable($entry)) {
            return $entry;
        }
        $object = is_object($entry) ? $entry : ($this->make)($entry);

        return method_exists($object, 'handle') ? [$object, 'handle'] : $object;
    }
}
