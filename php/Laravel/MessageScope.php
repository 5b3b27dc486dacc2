<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Support\Facades\Facade;

/**
 * Resets the state of the application between two messages, as queue:work does between two jobs. Without it, scoped
 * bindings, facades, the log context, the locale and the signed-in user of one message are those of the next. Every
 * method that not all supported versions of Laravel have is checked first.
 */
final class MessageScope
{
    private ?string $locale = null;

    public function __construct(private Application $app)
    {
    }

    /** Called before each message. */
    public function begin(): void
    {
        $this->resetLog();
        $this->resetDatabase();
        $this->resetAuthentication();
        $this->resetLocale();
        if (method_exists($this->app, 'forgetScopedInstances')) {
            $this->app->forgetScopedInstances();
        }
        Facade::clearResolvedInstances();
    }

    private function resetLog(): void
    {
        if (!$this->app->resolved('log')) {
            return;
        }
        $log = $this->app->make('log');
        foreach (method_exists($log, 'getChannels') ? $log->getChannels() : [$log] as $channel) {
            if (method_exists($channel, 'withoutContext')) {
                $channel->withoutContext();
            }
        }
        if (method_exists($log, 'flushSharedContext')) {
            $log->flushSharedContext();
        }
    }

    private function resetDatabase(): void
    {
        if (!$this->app->resolved('db')) {
            return;
        }
        $database = $this->app->make('db');
        foreach (method_exists($database, 'getConnections') ? $database->getConnections() : [] as $connection) {
            if (method_exists($connection, 'resetTotalQueryDuration')) {
                $connection->resetTotalQueryDuration();
                $connection->allowQueryDurationHandlersToRunAgain();
            }
        }
    }

    private function resetAuthentication(): void
    {
        if ($this->app->resolved('auth')) {
            $auth = $this->app->make('auth');
            if (method_exists($auth, 'forgetGuards')) {
                $auth->forgetGuards();
            }
        }
        if ($this->app->resolved('auth.driver') && method_exists($this->app, 'forgetInstance')) {
            $this->app->forgetInstance('auth.driver');
        }
    }

    private function resetLocale(): void
    {
        $this->locale ??= $this->app->getLocale();
        if ($this->app->getLocale() !== $this->locale) {
            $this->app->setLocale($this->locale);
        }
    }
}
