<?php

/**
 * What Toporia needs to know of this package: the configuration, the commands, and the helper functions it has none of.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Throwable;
use Toporia\Framework\Console\Application as ConsoleApplication;
use Toporia\Framework\Foundation\ServiceProvider;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;

/**
 * The newer generation finds it by itself; in the older one it goes to the end of the list in bootstrap/app.php:
 *
 *     \Toporia\Realtime\Toporia\RealtimeServiceProvider::class,
 *
 * The broker needs no provider: see DropIn.
 */
final class RealtimeServiceProvider extends ServiceProvider
{
    /**
     * Nothing to bind: the manager is the framework's own.
     *
     * @param object $container untyped, because the generations have its interface in different places
     */
    public function register($container): void
    {
    }

    /**
     * @param object $container
     *
     * @throws ConfigurationException a Kafka broker with a setting that is unknown or wrong
     */
    public function boot($container): void
    {
        $host = ToporiaHost::use(new ToporiaHost($container));
        try {
            self::configure($host->realtime(), $host->logger());
        } catch (ConfigurationException $e) {
            // The doctor says what is wrong with it, and what else.
            if (($_SERVER['argv'][1] ?? null) !== 'realtime:doctor') {
                throw $e;
            }
        }
        // After the application's own helpers, so that nothing of the framework's is taken away.
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
            // At the top of the file the framework has keys of its own, and may get more: one that we do not know
            // must not take every page down. In a Kafka broker's array it is a mistake.
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
            // A process without the console: a queue worker of another make, a test.
            return;
        }
        $loader = method_exists($console, 'getLoader') ? $console->getLoader() : null;
        foreach (Commands::ALL as $name => $class) {
            // Later ones win: the older generation has a realtime:kafka:consume of its own.
            $loader !== null && method_exists($loader, 'register')
                ? $loader->register($name, $class)
                : $console->register($class);
        }
    }
}
