<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Support\ReturnValue;

/**
 * Wraps every call of a handler in the application's middleware. A middleware is a class with `handle(Message $message,
 * callable $next): void`, or a callable with that signature.
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
    /** @var list<ApplicationObject|callable> */
    private array $layers = [];

    /**
     * @param array<mixed> $middleware classes, objects, callables
     * @param Closure(class-string): ApplicationObject $objects creates the object of a class
     *
     * @throws ConfigurationException an invalid entry
     */
    public function __construct(array $middleware, Closure $objects)
    {
        foreach ($middleware as $i => $entry) {
            if (is_callable($entry)) {
                $this->layers[] = $entry;
                continue;
            }
            $known = is_object($entry) || is_string($entry) && class_exists($entry);
            if (!$known || !method_exists($entry, 'handle') && !method_exists($entry, '__invoke')) {
                throw new ConfigurationException(
                    "realtime.middleware[$i]: " . (is_object($entry) ? $entry::class : OptionValue::shown($entry))
                    . ($known ? ' has no method handle(Message $message, '
                    . 'callable $next).' : ' is not an existing class.')
                );
            }
            $this->layers[] = is_object($entry) ? self::callable($entry) : $objects($entry);
        }
    }

    /** @param callable(Message): mixed $handler */
    public function run(Message $message, callable $handler): void
    {
        $next = static fn (Message $message): mixed => ReturnValue::complete($handler($message));
        foreach (array_reverse($this->layers) as $layer) {
            // Instantiated when it is its turn: an outer layer may prepare what an inner one is created with.
            $next = static fn (Message $message): mixed => ReturnValue::complete(
                $layer instanceof ApplicationObject
                    ? self::callable($layer->get())($message, $next)
                    : $layer($message, $next)
            );
        }
        $next($message);
    }

    private static function callable(object $object): callable
    {
        return method_exists($object, 'handle') ? [$object, 'handle'] : $object;
    }
}
