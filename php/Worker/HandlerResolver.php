<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Throwable;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Support\Pattern;

/**
 * Selects what a worker does with a message: --handler, `realtime.handlers`, the host's default, or printing it.
 * `realtime.handlers` maps event names and patterns to classes: `['order.*' => OrderHandler::class]`.
 *
 * An exact event name wins over patterns; among patterns the first listed wins. `*` matches one segment, `**` any
 * number.
 */
final class HandlerResolver
{
    private const MAX_CACHED = 1000;

    /** @var array<string, string|null> pattern of `realtime.handlers` by event */
    private array $patterns = [];
    /** @var array<string, true> events without a handler that have been reported */
    private array $reported = [];
    public int $unhandled = 0;
    private MiddlewarePipeline $middleware;
    /** @var Closure(class-string): ApplicationObject */
    private Closure $objects;
    /** @var list<ApplicationObject> the handlers and middleware that are given by class */
    private array $created = [];
    /** @var (Closure(Message): ?HandlerInvoker)|null selects the handler of a message */
    private ?Closure $select = null;

    /**
     * @param array<string, mixed> $config the application's `realtime` configuration: `handlers`, `middleware`
     * @param Closure(class-string): object $make instantiates a class
     * @param (Closure(Message): void)|null $host the host's default for messages without a handler
     * @param int|null $lifetime seconds until handlers and middleware are instantiated again; 0: for every message;
     *        null: only by renew()
     * @param (Closure(class-string): object)|null $renew instantiates a class again, with new dependencies; null: as
     *        $make
     *
     * @throws ConfigurationException invalid middleware
     */
    public function __construct(
        private array $config,
        Closure $make,
        private ?Closure $host = null,
        ?int $lifetime = null,
        ?Closure $renew = null
    ) {
        $this->objects = fn (string $class): ApplicationObject
            => $this->created[] = new ApplicationObject($class, $make, $lifetime, $renew);
        $this->middleware = new MiddlewarePipeline($this->list('middleware'), $this->objects);
    }

    /**
     * The callback to subscribe.
     *
     * @param string|null $class the --handler option
     *
     * @return callable(Message): void
     *
     * @throws UsageError invalid --handler
     * @throws ConfigurationException an invalid entry in `realtime.handlers`
     */
    public function resolve(?string $class, Reporter $reporter): callable
    {
        if ($class !== null) {
            try {
                $invoker = $this->invoker(ltrim($class, '\\'), '--handler');
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

    /** True if the application configured any handler. */
    public function hasHandlers(?string $class): bool
    {
        return $class !== null || $this->list('handlers') !== [];
    }

    /** Describes the result of resolve(). */
    public function describe(?string $class): string
    {
        return match (true) {
            $class !== null => 'handled by ' . ltrim($class, '\\'),
            $this->list('handlers') !== [] => 'handled by realtime.handlers ('
                . implode(', ', array_keys($this->list('handlers'))) . ')',
            $this->host !== null => 'broadcast by the framework',
            default => 'printed (neither --handler nor realtime.handlers is set)',
        };
    }

    /** Tells the handler of a message that it will not be retried. */
    public function failed(Message $message, Throwable $why): void
    {
        $invoker = $this->select === null ? null : ($this->select)($message);
        $invoker?->failed($message, $why);
    }

    /**
     * Handlers and middleware given by class are instantiated again for the next message, with new dependencies: one
     * that holds a dead connection would never recover.
     */
    public function renew(): void
    {
        foreach ($this->created as $object) {
            $object->expire();
        }
    }

    private function invoker(mixed $handler, string $where): HandlerInvoker
    {
        return new HandlerInvoker($handler, $this->objects, $this->middleware, $where);
    }

    private function byEvent(Reporter $reporter): Closure
    {
        $invokers = [];
        foreach ($this->list('handlers') as $event => $handler) {
            $invokers[$event] = $this->invoker($handler, "realtime.handlers['$event']");
        }
        // PHP has turned keys such as '42' into int.
        $patterns = array_map('strval', array_keys($invokers));
        $this->select = function (Message $message) use ($invokers, $patterns): ?HandlerInvoker {
            $event = (string) $message->getEvent();
            if (!array_key_exists($event, $this->patterns)) {
                // Bounded, because event names come from outside.
                $this->patterns = count($this->patterns) >= self::MAX_CACHED ? [] : $this->patterns;
                $this->patterns[$event] = Pattern::pick($patterns, $event);
            }

            $pattern = $this->patterns[$event];

            return $pattern === null ? null : $invokers[$pattern];
        };

        return function (Message $message) use ($reporter): void {
            $invoker = ($this->select)($message);
            if ($invoker !== null) {
                $invoker($message);

                return;
            }
            $this->unhandled++;
            $event = Text::shorten(Text::printable((string) $message->getEvent()), 80);
            // Bounded, because event names come from outside.
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
            throw new ConfigurationException("realtime.$key is a " . get_debug_type($value) . '; it must be an array.');
        }

        return $value;
    }
}
