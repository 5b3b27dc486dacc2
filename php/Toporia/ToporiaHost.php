<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Closure;
use Symfony\Component\Console\Input\InputOption;
use Throwable;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;
use Toporia\Realtime\Console\Host;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Support\Environment;

/**
 * Connects the commands to a Toporia application. Handlers are resolved from the application's container. Messages
 * without a handler are broadcast by the framework's own manager to the browsers connected to this server.
 */
final class ToporiaHost extends Host
{
    private static ?self $current = null;

    /** @param object $container any object with get() and has() */
    public function __construct(private object $container)
    {
    }

    /** Sets the host that commands run in. */
    public static function use(self $host): self
    {
        return self::$current = $host;
    }

    /** @throws ConfigurationException the provider was not booted */
    public static function current(): self
    {
        return self::$current ?? throw new ConfigurationException(
            'The commands require the service '
                . 'provider: add ' . RealtimeServiceProvider::class . '::class to bootstrap/app.php.'
        );
    }

    /**
     * The unmodified array of config/realtime.php.
     *
     * @return array<string, mixed>
     */
    public function realtime(): array
    {
        $config = $this->container->has('config') ? $this->container->get('config')->get('realtime', []) : null;
        if ($config === null && function_exists('config')) {
            $config = config('realtime', []);
        }

        return is_array($config) ? $config : [];
    }

    public function config(): array
    {
        return Environment::withoutComments($this->realtime());
    }

    /** The framework's logger, if it has one; used for the extension's own messages. */
    public function logger(): ?object
    {
        foreach (['Toporia\Framework\Log\Contracts\LoggerInterface', 'Psr\Log\LoggerInterface'] as $id) {
            try {
                $logger = $this->container->has($id) ? $this->container->get($id) : null;
            } catch (Throwable) {
                // A logger that cannot be created must not keep the application from starting.
                continue;
            }
            if (is_object($logger) && method_exists($logger, 'log')) {
                return $logger;
            }
        }

        return null;
    }

    public function inspectedConfig(): array
    {
        return Configuration::application($this->realtime());
    }

    public function directory(): string
    {
        if (defined('APP_BASE_PATH')) {
            return (string) constant('APP_BASE_PATH');
        }
        try {
            $app = $this->container->get('app');
            foreach (['getBasePath', 'basePath'] as $method) {
                if (method_exists($app, $method)) {
                    return (string) $app->$method();
                }
            }
        } catch (Throwable) {
            // The application is not bound in its own container.
        }

        return getcwd() ?: '.';
    }

    public function make(string $class): object
    {
        try {
            return $this->container->get($class);
        } catch (ConfigurationException $e) {
            throw $e;
        } catch (Throwable $e) {
            throw new ConfigurationException("Cannot create $class: {$e->getMessage()}", 0, $e);
        }
    }

    /** The framework's manager. */
    public function manager(): RealtimeManagerInterface
    {
        return $this->container->get(RealtimeManagerInterface::class);
    }

    public function consumeOptions(): array
    {
        return [
            new InputOption('dlq-enabled', null, InputOption::VALUE_NONE, 'Enable dead letters, overriding the '
                . 'configuration'),
            new InputOption('all', null, InputOption::VALUE_NONE, 'Consume all channels, if --channels is not given'),
            new InputOption('topic', null, InputOption::VALUE_REQUIRED, 'Channel to consume, if --channels is '
                . 'not given'),
        ];
    }

    public function translateOptions(array $options): array
    {
        if (($options['channels'] ?? []) === []) {
            $topic = $options['topic'] ?? null;
            $options['channels'] = $topic !== null ? [$topic] : ($options['all'] ?? false ? ['**'] : []);
        }

        return $options;
    }

    public function fallback(): ?Closure
    {
        return function (Message $message): void {
            $manager = $this->manager();
            $parts = [(string) $message->getChannel(), (string) $message->getEvent(), $message->getData()];
            method_exists($manager, 'broadcastLocal')
                ? $manager->broadcastLocal(...$parts)
                // It also publishes to Kafka; the broker recognizes the current message and does not send it again.
                : $manager->broadcast(...$parts);
        };
    }
}
