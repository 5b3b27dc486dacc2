<?php

/**
 * The package in an application: discovered, configured with and without a cached configuration, lazy.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

final class ProviderBrokerTest extends LaravelTestCase
{
    public function testThePackageIsDiscoveredAndConnectsNothing(): void
    {
        $this->addEnv(['KAFKA_BROKERS' => '127.0.0.1:1']);
        $found = $this->inApp(<<<'PHP'
            $manager = app(Illuminate\Broadcasting\BroadcastManager::class);
            $driver = $manager->driver('kafka');
            return [
                'connection' => config('broadcasting.connections.kafka'),
                'driver' => get_class($driver),
                'facade' => get_class(\Realtime::getFacadeRoot()),
                'strategy' => config('realtime.brokers.kafka.topic_strategy'),
                'mark' => config('realtime.gateway.public_by_mark'),
                'spool' => config('realtime.spool') === storage_path('realtime'),
                'clients' => Realtime::stats()['clients'],
            ];
            PHP);
        self::assertSame([
            'connection' => ['driver' => 'kafka'],
            'driver' => 'Toporia\Realtime\Laravel\KafkaBroadcaster',
            'facade' => 'Toporia\Realtime\Laravel\Manager',
            'strategy' => 'grouped',
            'mark' => true,
            'spool' => true,
            'clients' => 0,
        ], $found);
    }

    public function testTheManagerIsCreatedOnFirstUse(): void
    {
        $this->write('app/Providers/AppServiceProvider.php', <<<'PHP'
            <?php

            namespace App\Providers;

            final class AppServiceProvider extends \Illuminate\Support\ServiceProvider
            {
            }
            PHP);
        self::assertFalse($this->inApp('return app()->resolved(Illuminate\Broadcasting\BroadcastManager::class);'));
    }

    public function testACachedConfigurationWorksWithoutTheEnvironment(): void
    {
        $this->artisan('config:cache')->assertExit();
        // With a cached configuration Laravel reads no .env: values come from the cache or not at all.
        unlink("$this->app/.env");
        $this->inApp("\\Realtime::broadcast('user.1', 'order.created', ['id' => 7]); \\Realtime::flush();");
        self::assertSame([['user.1', 'order.created', ['id' => 7]]], self::summary($this->sent()));
    }

    public function testAnApplicationsOwnConnectionStays(): void
    {
        $this->write('config/broadcasting.php', <<<'PHP'
            <?php

            return ['default' => 'kafka', 'connections' => ['kafka' => ['driver' => 'log']]];
            PHP);
        self::assertSame(['driver' => 'log'], $this->inApp("return config('broadcasting.connections.kafka');"));
    }

    public function testAServiceOfTheGuidesGetsTheManagerInItsConstructor(): void
    {
        $this->write('app/Services/NotificationService.php', <<<'PHP'
            <?php

            namespace App\Services;

            use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

            final class NotificationService
            {
                public function __construct(private RealtimeManagerInterface $realtime)
                {
                }

                public function notify(int $user): void
                {
                    $this->realtime->broadcast(channel: "user.$user", event: 'notification', data: ['id' => 7]);
                }
            }
            PHP);
        $this->inApp('app(App\Services\NotificationService::class)->notify(1); \Realtime::flush();');
        self::assertSame([['user.1', 'notification', ['id' => 7]]], self::summary($this->sent()));
    }

    public function testAnInvalidConfigurationIsReportedOnlyWhereItIsUsed(): void
    {
        $this->realtime("['brokers' => ['kafka' => ['topic_prefx' => 'x']]]");
        self::assertSame('still here', $this->inApp("return 'still here';"));
        foreach (["\\Realtime::broadcast('user.1', 'e')", "Toporia\\Realtime\\broadcast('user.1', 'e')"] as $use) {
            $said = $this->inApp("try { $use; } catch (Throwable \$e) { return [get_class(\$e), \$e->getMessage()]; }");
            self::assertSame('Toporia\Realtime\Exception\ConfigurationException', $said[0]);
            self::assertStringContainsString("Did you mean 'topic_prefix'?", $said[1]);
        }
        $command = $this->artisan('realtime:kafka:consume --channels=user.1')->assertExit(2);
        self::assertStringContainsString("Did you mean 'topic_prefix'?", $command->stderr);
        $command = $this->artisan('realtime:kafka:publish user.1 e {}')->assertExit(2);
        self::assertStringContainsString("Did you mean 'topic_prefix'?", $command->stderr);
    }

    public function testTheConfigurationCanBePublished(): void
    {
        $this->artisan('vendor:publish --tag=realtime-config')->assertExit();
        self::assertFileEquals(self::root() . '/php/Laravel/config/realtime.php', "$this->app/config/realtime.php");
        $this->artisan('config:cache')->assertExit();
        self::assertSame('grouped', $this->inApp("return config('realtime.brokers.kafka.topic_strategy');"));
    }
}
