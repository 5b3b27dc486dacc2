<?php

/**
 * Base of the tests of gateway alerts: a gateway process, and an alert that its metrics fire.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use Toporia\Realtime\Tests\Gateway\RunsGateways;
use Toporia\Realtime\Tests\Support\ChildProcess;

abstract class GatewayAlertsTestCase extends MetricsTestCase
{
    use FiresAlerts;
    use RunsGateways;

    /** The addresses of its metrics and of its sockets. */
    protected string $metrics = '';
    protected string $sockets = '';

    /** @param array<string, mixed> $options as startConsole() takes them */
    protected function startGateway(string $settings, array $options = []): ChildProcess
    {
        mkdir("$this->directory/config");
        file_put_contents("$this->directory/config/realtime.php", "<?php return ['gateway' => [$settings]];");
        $child = $this->startConsole(
            ['realtime:gateway', '--metrics=127.0.0.1:0', '--json', '--drain=0'],
            $options + ['cwd' => $this->directory]
        );
        $this->metrics = $child->waitForOutput('/"metrics".*"address":"(127\.0\.0\.1:\d+)"/', 30)[1];
        $this->sockets = $child->waitForOutput('/"type":"gateway".*?"address":"(127\.0\.0\.1:\d+)"/', 30)[1];
        self::within(
            fn (): bool => self::scrape($this->metrics)->value('realtime_gateway_ready') === 1.0,
            'the gateway is ready',
            30
        );

        return $child;
    }

    /** Waits until a counter has this value, and expects the alert from it. */
    protected function assertAlert(string $alert, Scrape $before, string $counter, float $value): void
    {
        $total = static fn (Scrape $scrape): float => array_sum($scrape->all($counter));
        $after = self::within(function () use ($total, $value): ?Scrape {
            $scrape = self::scrape($this->metrics);

            return $total($scrape) >= $value ? $scrape : null;
        }, "$counter is $value", 60);
        $this->assertFires([$alert], $before, $after, 1.0, 'realtime-gateway');
    }
}
