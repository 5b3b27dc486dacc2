<?php

/**
 * Decides what a worker does with a message: --handler, else `realtime.handlers`, else the host, else print.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

/**
 * `realtime.handlers` maps event names and patterns to classes: `['order.*' => OrderHandler::class]`.
 *
 * The exact event wins over patterns, among patterns the first one listed; `*` is one segment, `**` any number.
 */
final class HandlerResolver
{
    /** @var array<string, true> events without a handler that were already reported */
    private array $reported = [];
    private int $unhandled = 0;
    private MiddlewarePipeline $middleware;
    /** @var (Closure(Message): ?HandlerInvoker)|null who handles a message */
    private ?Closure $select = null;

    /**
     * @param array<string, mixed> $config the application's `realtime` configuration: `handlers`, `middleware`
     * @param Closure(class-string): object $make makes the object of a class
     * @param (Closure(Message): void)|null $host what the host does with a message nobody handles
     *
     * @throws ConfigurationException middleware that is none
     */
    public function __construct(private array $config, private Closure $make, private ?Closure $host = null)
    {
        $this->middleware = new MiddlewarePipeline($this->list('middleware'), $make);
    }

    /**
     * The callback for the broker.
     *
     * @param string|null $class the --handler option
     *
     * @return callable(Message): void
     *
     * @throws UsageError the --handler is none
     * @throws ConfigurationException an entry of `realtime.handlers` is none
     */
    public function resolve(?string $class, Reporter $reporter): callable
    {
        if ($class !== null) {
            try {
                $invoker = new HandlerInvoker(ltrim($class, '\\'), $this->make, $this->middleware, '--handler');
                $this->select = static fn (): HandlerInvoker => $invoker;

                return $invoker->prepare();
            } catch (ConfigurationException $e) {
                throw new UsageError($e->getMessage(), 0, $e);
            }
        }
        if ($this->list('handlers') !== []) {
            return $this->byEvent($reporter);
        }
        $last = $this->host ?? $reporter->message(...);

        return fn (Message $message) => $this->middleware->run($message, $last);
    }

    /**
     * Whether the application has something of its own for messages.
     */
    public function hasHandlers(?string $class): bool
    {
        return $class !== null || $this->list('handlers') !== [];
    }

    /**
     * Says in words what resolve() decides.
     */
    public function describe(?string $class): string
    {
        return match (true) {
            $class !== null => 'handled by ' . ltrim($class, '\\'),
            $this->list('handlers') !== [] => 'handled by realtime.handlers ('
                . implode(', ', array_keys($this->list('handlers'))) . ')',
            $this->host !== null => 'broadcast by the framework',
            default => 'printed, because there is no --handler and no realtime.handlers',
        };
    }

    /**
     * Tells the handler of a message that there is no other try for it.
     */
    public function failed(Message $message, Throwable $why): void
    {
        $invoker = $this->select === null ? null : ($this->select)($message);
        $invoker?->failed($message, $why);
    }

    /**
     * How many messages had an event that no entry of `realtime.handlers` takes.
     */
    public function unhandled(): int
    {
        return $this->unhandled;
    }

    private function byEvent(Reporter $reporter): Closure
    {
        $invokers = [];
        foreach ($this->list('handlers') as $event => $handler) {
            $invokers[$event] = new HandlerInvoker($handler, $this->make, $this->middleware, "realtime.handlers['$event']");
        }
        $patterns = new EventPatterns($invokers);
        $this->select = static fn (Message $message): ?HandlerInvoker => $patterns->for((string) $message->getEvent());

        return function (Message $message) use ($patterns, $reporter): void {
            $invoker = $patterns->for((string) $message->getEvent());
            if ($invoker !== null) {
                $invoker($message);

                return;
            }
            $this->unhandled++;
            $event = Text::shorten(Text::printable((string) $message->getEvent()), 80);
            // Bounded: event names come from outside.
            if (!isset($this->reported[$event]) && count($this->reported) < 100) {
                $this->reported[$event] = true;
                $reporter->event('unhandled', "no handler for event '$event'", ['event' => $event]);
            }
        };
    }

    /** @return array<mixed> */
    private function list(string $key): array
    {
        $value = $this->config[$key] ?? [];
        if (!is_array($value)) {
            throw new ConfigurationException("realtime.$key is a " . get_debug_type($value) . '; it is an array.');
        }

        return $value;
    }
}
