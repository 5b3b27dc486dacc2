<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Throwable;
use Toporia\Framework\Console\Application as ConsoleApplication;
use Toporia\Framework\Foundation\ServiceProvider;
use Toporia\Realtime\Console\DoctorCommand;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;

/**
 * Registers this package in Toporia: configuration, commands, and missing helper functions. Discovered automatically by
 * the newer generation; in the older one, add it to the end of the list in bootstrap/app.php:
 *
 *     \Toporia\Realtime\Toporia\RealtimeServiceProvider::class,
 *
 * The broker does not need the provider: see DropIn.
 */
final class RealtimeServiceProvider extends ServiceProvider
{
    /**
     * Nothing to bind: the framework provides the manager.
     *
     * @param object $container untyped, because its interface differs between the generations
     */
    public function register($container): void
    {
    }

    /**
     * @param object $container
     *
     * @throws ConfigurationException a Kafka broker with an unknown or invalid setting
     */
    public function boot($container): void
    {
        $host = ToporiaHost::use(new ToporiaHost($container));
        try {
            self::configure($host->realtime(), $host->logger());
        } catch (ConfigurationException $e) {
            // Continue: the doctor reports this error and others.
            if (!DoctorCommand::isCalled()) {
                throw $e;
            }
        }
        // Loaded after the application's own helpers, so that those win.
        require_once __DIR__ . '/helpers.php';
        if (in_array(PHP_SAPI, ['cli', 'phpdbg'], true)) {
            self::registerCommands($container);
        }
    }

    /** @param array<string, mixed> $realtime */
    private static function configure(array $realtime, ?object $logger): void
    {
        $config = Configuration::application($realtime);
        if ($config === []) {
            return;
        }
        $config['logger'] ??= $logger;
        try {
            Realtime::configure($config);
        } catch (ConfigurationException $e) {
            // At the top level the framework has keys of its own, and may add more: an unknown one there must not break
            // every page. Inside a Kafka broker's array it is a mistake.
            Realtime::configure(array_intersect_key($config, ['brokers' => true, 'default_broker' => true,
                'logger' => true]));
            error_log("config/realtime.php: {$e->getMessage()} Only its brokers are used.");
        }
    }

    private static function registerCommands(object $container): void
    {
        try {
            $console = $container->get(ConsoleApplication::class);
        } catch (Throwable) {
            // A process without the console, such as a queue worker or a test.
            return;
        }
        $loader = method_exists($console, 'getLoader') ? $console->getLoader() : null;
        foreach (DropIn::commands() as $name => $class) {
            // The last registration wins: the older generation has its own realtime:kafka:consume.
            $loader !== null && method_exists($loader, 'register')
                ? $loader->register($name, $class)
                : $console->register($class);
        }
    }
}
