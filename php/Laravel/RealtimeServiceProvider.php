<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Console\Application as Artisan;
use Illuminate\Console\Events\CommandFinished;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Foundation\Console\AboutCommand;
use Illuminate\Queue\Events\JobExceptionOccurred;
use Illuminate\Queue\Events\JobFailed;
use Illuminate\Queue\Events\JobProcessed;
use Illuminate\Queue\Events\JobProcessing;
use Illuminate\Queue\Events\Looping;
use Illuminate\Queue\Events\WorkerStopping;
use Illuminate\Queue\Queue;
use Illuminate\Support\ServiceProvider;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Console\Host;
use Toporia\Realtime\Contract\Consumer;
use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Console\CommandList;
use Toporia\Realtime\Laravel\Console\InstallCommand;
use Toporia\Realtime\Laravel\Console\ReceiveCommand;
use Toporia\Realtime\Laravel\Console\SendCommand;
use Toporia\Realtime\Laravel\Events\MessageDeadLettered;
use Toporia\Realtime\Laravel\Events\MessageFailed;
use Toporia\Realtime\Laravel\Queue\CurrentJob;
use Toporia\Realtime\Polyfill\RealtimeManager;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tracing\Tracing;

/**
 * Integrates the extension into Laravel: configuration, broadcast driver, facade, commands, events. Found by package
 * discovery. Does not connect, reads no environment variables, registers no routes.
 */
final class RealtimeServiceProvider extends ServiceProvider
{
    private const CONFIG = __DIR__ . '/config/realtime.php';
    private const FLUSH_MS = 500;

    public function register(): void
    {
        $this->mergeConfigFrom(self::CONFIG, 'realtime');
        $config = $this->app->make('config');
        if ($config->get('broadcasting.connections.kafka') === null) {
            $config->set('broadcasting.connections.kafka', ['driver' => 'kafka']);
        }
        $this->bindServices();
        // Not Broadcast::extend(): that would instantiate the manager and its dependencies in every request.
        $this->callAfterResolving(BroadcastManager::class, static function (BroadcastManager $manager): void {
            // Static, because Laravel 13 binds the closure to the manager.
            $manager->extend('kafka', static fn ($app, array $config): KafkaBroadcaster => new KafkaBroadcaster(
                new Connection($config),
                $app->make(CurrentJob::class)
            ));
        });
        // In register(), so that a command of the same name that another package adds later wins.
        Artisan::starting(self::addRawCommands(...));
    }

    public function boot(): void
    {
        Configuration::apply((array) $this->app->make('config')->get('realtime', []));
        $this->listen($this->app->make(Dispatcher::class));
        Artisan::starting(fn (Artisan $artisan) => CommandList::add($artisan, [
            ...CommandList::of($this->app->make(Host::class)), $this->app->make(InstallCommand::class),
        ]));
        $this->publishes([self::CONFIG => $this->app->configPath('realtime.php')], 'realtime-config');
        if (class_exists(AboutCommand::class)) {
            AboutCommand::add('Realtime', About::lines(...));
        }
    }

    /** Registers kafka:send and kafka:consume, unless the names are taken now or later. */
    private static function addRawCommands(Artisan $artisan): void
    {
        // If Laravel loads commands lazily, has() does not know any of them yet.
        $lazy = (fn (): array => $this->commandMap ?? [])->call($artisan);
        foreach ([SendCommand::NAME => SendCommand::class, ReceiveCommand::NAME => ReceiveCommand::class] as $name => $class) {
            if (!$artisan->has($name) && !isset($lazy[$name])) {
                $artisan->resolve($class);
            }
        }
    }

    private function bindServices(): void
    {
        $this->app->singleton(CurrentJob::class);
        $this->app->singleton(Manager::class, fn ($app): Manager => new Manager($this->app));
        $this->app->singleton(Host::class, fn ($app): LaravelHost => new LaravelHost($this->app));
        $this->app->singleton(Log::class, function (): Log {
            $channel = $this->app->make('config')->get('realtime.log');

            return new Log($channel === false ? null : fn () => $this->app->make('log')->channel($channel));
        });
        $this->app->singleton(Flusher::class, fn (): Flusher => new Flusher(
            $this->app->make(Log::class),
            (int) ($this->app->make('config')->get('realtime.request_flush_ms') ?? self::FLUSH_MS)
        ));
        // Contracts that application services request in their constructors.
        $this->app->singleton(RealtimeManagerInterface::class, static fn () => RealtimeManager::instance());
        foreach ([Broker::class, Publisher::class, Consumer::class] as $type) {
            $this->app->bind($type, static fn (): Broker => Realtime::broker());
        }
    }

    private function listen(Dispatcher $events): void
    {
        // A queued broadcast belongs to the trace that queued it.
        Queue::createPayloadUsing(static function (): array {
            $trace = Tracing::headers();

            return $trace === [] ? [] : ['realtime_trace' => $trace];
        });
        $job = fn (): CurrentJob => $this->app->make(CurrentJob::class);
        $events->listen(JobProcessing::class, static fn (JobProcessing $event) => $job()->start($event->job));
        foreach ([JobProcessed::class, JobExceptionOccurred::class] as $end) {
            $events->listen($end, static fn (object $event) => $job()->finish($event->job));
        }
        // Between two jobs. Must not return anything: false would stop the worker from taking the next job.
        $events->listen(Looping::class, static function () use ($job): void {
            $job()->reset();
        });

        $flush = function (): void {
            $this->app->make(Flusher::class)->flush();
        };
        $ends = [JobProcessed::class, JobFailed::class, WorkerStopping::class, CommandFinished::class];
        // Octane's processes outlive their requests: PHP's own request shutdown only happens at the end.
        $octane = ['Laravel\Octane\Events\RequestTerminated', 'Laravel\Octane\Events\WorkerStopping'];
        foreach ([...$ends, ...$octane] as $end) {
            $events->listen($end, $flush);
        }
        $this->app->terminating(function (): void {
            $this->app->make(Flusher::class)->afterRequest();
        });

        $events->listen(MessageFailed::class, fn (MessageFailed $event) => $this->app->make(Log::class)->failed($event));
        $events->listen(
            MessageDeadLettered::class,
            fn (MessageDeadLettered $event) => $this->app->make(Log::class)->deadLettered($event)
        );
    }
}
