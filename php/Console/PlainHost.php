<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Throwable;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Contract;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Polyfill\RealtimeManager;
use Toporia\Realtime\Polyfill\ConfigFiles;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Support\Environment;
use Toporia\Realtime\Toporia\Framework;

/**
 * The host of ./console: config/realtime.php in the working directory, and a small container. The file returns the
 * array for Realtime::configure(). These keys are for the commands:
 *
 *     return [
 *         'brokers' => ['kafka' => ['brokers' => getenv('KAFKA_BROKERS') ?: 'localhost:9092']],
 *         'handlers' => ['order.*' => OrderHandler::class],
 *         'middleware' => [Timing::class],
 *         'commands' => [ReportCommand::class],                       // the application's own
 *         'bindings' => [PDO::class => fn (Container $c) => new PDO(getenv('DB_DSN'))],
 *         'restart_file' => '/run/shop/realtime.restart',
 *     ];
 *
 * A .env file is not read: the environment is that of the shell, systemd or Docker. Load a .env file at the top of
 * config/realtime.php if needed.
 */
final class PlainHost extends Host
{
    /** Keys used only by the commands, not by the extension. */
    private const OWN = ['handlers', 'middleware', 'commands', 'bindings', 'restart_file'];

    private Container $container;
    private ?string $loadError = null;
    /**
     * @var array<string, array<string, mixed>> loaded configurations: a file that defines functions must run only once
     */
    private static array $read = [];

    /**
     * @param array<string, mixed> $config
     *
     * @throws ConfigurationException the extension rejects the configuration
     */
    public function __construct(private array $config, private string $directory)
    {
        $this->container = new Container();
        $default = static fn (): Broker => Realtime::broker();
        $this->container->bind(Broker::class, $default);
        $this->container->bind(Contract\Publisher::class, $default);
        $this->container->bind(Contract\Consumer::class, $default);
        if (!Framework::isPresent()) {
            $this->container->bind(RealtimeManagerInterface::class, RealtimeManager::instance(...));
        }
        ConfigFiles::useDirectory($directory);
        ConfigFiles::set('realtime', $config);
        foreach ($this->list('bindings') as $id => $what) {
            if (!is_object($what) && !is_string($what)) {
                throw new ConfigurationException("bindings['$id'] is " . get_debug_type($what) . '; expected a closure, '
                    . 'an object or the name of a class.');
            }
            $this->container->bind((string) $id, $what);
        }
        if ($config !== []) {
            Realtime::configure($this->withObjects(array_diff_key($config, array_flip(self::OWN))));
        }
    }

    /**
     * The host of a directory, configured by its config/realtime.php if it exists, else by the environment.
     *
     * @throws ConfigurationException the file fails or does not return an array
     */
    public static function in(string $directory): self
    {
        return new self(self::read($directory), $directory);
    }

    /** The host for realtime:doctor after in() failed: the configuration can be inspected, but is not applied. */
    public static function forDoctor(string $directory, ConfigurationException $why): self
    {
        $host = new self([], $directory);
        $host->config = self::$read[$directory] ?? [];
        $host->loadError = $why->getMessage();
        unset($host->config['commands'], $host->config['bindings']);

        return $host;
    }

    /**
     * @return array<string, mixed>
     *
     * @throws ConfigurationException the file fails or does not return an array
     */
    private static function read(string $directory): array
    {
        $file = $directory . '/config/realtime.php';
        if (!is_file($file)) {
            return [];
        }
        try {
            $config = (static fn (): mixed => require $file)();
        } catch (Throwable $e) {
            throw new ConfigurationException(
                "$file failed: {$e->getMessage()} (line {$e->getLine()} of {$e->getFile()})",
                0,
                $e
            );
        }
        if (!is_array($config)) {
            throw new ConfigurationException(
                "$file returned " . get_debug_type($config) . '; it must return an array.'
            );
        }

        return self::$read[$directory] = Environment::withoutComments($config);
    }

    public function inspectedConfig(): array
    {
        return array_diff_key($this->config, array_flip(self::OWN));
    }

    public function loadError(): ?string
    {
        return $this->loadError;
    }

    /**
     * Instantiates the classes named under `logger` and `tracing`. A bound PSR-3 logger is the default logger.
     *
     * @param array<string, mixed> $config
     *
     * @return array<string, mixed>
     */
    private function withObjects(array $config): array
    {
        if (!isset($config['logger']) && isset($this->list('bindings')['Psr\Log\LoggerInterface'])) {
            $config['logger'] = $this->container->get('Psr\Log\LoggerInterface');
        }
        foreach (['logger', 'tracing'] as $key) {
            if (is_string($config[$key] ?? null) && class_exists($config[$key])) {
                $config[$key] = $this->container->get($config[$key]);
            }
        }

        return $config;
    }

    public function config(): array
    {
        return $this->config;
    }

    public function directory(): string
    {
        return $this->directory;
    }

    public function make(string $class): object
    {
        return $this->container->get($class);
    }

    public function renew(string $class): object
    {
        $this->container->forgetInstances();

        return $this->container->get($class);
    }

    /**
     * An array of the configuration; empty if not set.
     *
     * @return array<mixed>
     *
     * @throws ConfigurationException it is not an array
     */
    public function list(string $key): array
    {
        $list = $this->config[$key] ?? [];
        if (!is_array($list)) {
            throw new ConfigurationException("$key is " . get_debug_type($list) . '; it must be an array.');
        }

        return $list;
    }
}
