<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Closure;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Contracts\Queue\ShouldQueue;
use Throwable;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Console\Host;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Laravel\Events\MessageConsumed;
use Toporia\Realtime\Laravel\Events\MessageDeadLettered;
use Toporia\Realtime\Laravel\Events\MessageFailed;
use Toporia\Realtime\Laravel\Queue\QueuedHandler;
use Toporia\Realtime\Message;
use Toporia\Realtime\Support\Environment;
use Toporia\Realtime\Worker\ConsumeOptions;

/**
 * Connects the commands to Laravel: its configuration, container and events. Handlers and middleware are resolved from
 * Laravel's container; a handler that implements ShouldQueue is queued.
 */
final class LaravelHost extends Host
{
    private MessageScope $scope;

    public function __construct(private Application $app)
    {
        $this->scope = new MessageScope($app);
    }

    /** @throws ConfigurationException config/realtime.php is invalid: the command prints it and exits with 2 */
    public function config(): array
    {
        $config = Environment::withoutComments((array) $this->app->make('config')->get('realtime', []));
        Configuration::applyOrThrow($config);
        // The outermost middleware: it resets the state before the application's own middleware is created.
        $config['middleware'] = [$this->process(...), ...(array) ($config['middleware'] ?? [])];

        return $config;
    }

    public function inspectedConfig(): array
    {
        return Configuration::native((array) $this->app->make('config')->get('realtime', []));
    }

    public function directory(): string
    {
        return $this->app->basePath();
    }

    public function make(string $class): object
    {
        if (is_subclass_of($class, ShouldQueue::class) && method_exists($class, 'handle')) {
            return new QueuedHandler($class, $this->app);
        }
        try {
            return $this->app->make($class);
        } catch (Throwable $e) {
            throw new ConfigurationException("Laravel's container cannot create $class: {$e->getMessage()}", 0, $e);
        }
    }

    public function handlerLifetime(): ?int
    {
        return 0;
    }

    public function failureListener(ConsumeOptions $options): Closure
    {
        $deadLetters = (new Admin(['broker' => $options->broker] + $options->settings()))->configuration()['dlq'];

        return function (Message $message, Throwable $e, ?int $retryInMs) use ($deadLetters): void {
            $this->announce(new MessageFailed($message, $e, $retryInMs));
            if ($retryInMs === null && $deadLetters) {
                $this->announce(new MessageDeadLettered($message, $e));
            }
        };
    }

    private function process(Message $message, callable $next): void
    {
        $this->scope->begin();
        $next($message);
        $this->announce(new MessageConsumed($message));
    }

    /** A listener that throws is reported: it must neither fail a handled message nor stop the worker. */
    private function announce(object $event): void
    {
        try {
            $this->app->make('events')->dispatch($event);
        } catch (Throwable $e) {
            $this->app->make(ExceptionHandler::class)->report($e);
        }
    }
}
