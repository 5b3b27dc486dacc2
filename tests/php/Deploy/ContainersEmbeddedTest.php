<?php

/**
 * The gateways of deploy/kubernetes and deploy/docker, started as processes with the command and the environment of
 * their containers: the probes succeed, and browsers connect.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use Symfony\Component\Yaml\Yaml;

final class ContainersEmbeddedTest extends DeployTestCase
{
    public static function setUpBeforeClass(): void
    {
        parent::setUpBeforeClass();
        require_once '/usr/share/php/Symfony/Component/Yaml/autoload.php';
    }

    public function testThePodsOfKubernetesAcceptBrowsers(): void
    {
        [$deployment] = self::documents('kubernetes/gateway.yaml');
        [$map] = self::documents('kubernetes/config.yaml');
        $container = $deployment['spec']['template']['spec']['containers'][0];
        $environment = array_column($container['env'], 'value', 'name') + $map['data'];
        self::assertSame(
            [6001, 6900],
            array_column($container['ports'], 'containerPort'),
            'the ports of the arguments and of ops_listen'
        );
        $sockets = [];
        $shared = $this->application();
        for ($pod = 0; $pod < $deployment['spec']['replicas']; $pod++) {
            [$address, $ops] = $this->startGateway($container['args'], $environment, $shared);
            foreach (['startupProbe', 'livenessProbe', 'readinessProbe'] as $probe) {
                self::assertSame('metrics', $container[$probe]['httpGet']['port']);
                self::assertNotFalse(file_get_contents("http://$ops{$container[$probe]['httpGet']['path']}"), $probe);
            }
            $sockets[] = $address;
        }
        self::assertBrowsersConnect($sockets);
    }

    public function testTheGatewayOfComposeAcceptsBrowsersAndIsHealthy(): void
    {
        $service = self::documents('docker/compose.yaml')[0]['services']['gateway'];
        self::assertSame(['127.0.0.1:6001:6001'], $service['ports']);
        self::assertSame('toporia-realtime', $service['command'][0]);
        $command = ['vendor/bin/toporia-realtime', ...array_slice($service['command'], 1)];
        [$address, $ops] = $this->startGateway($command, $service['environment'], $this->application());
        self::assertBrowsersConnect([$address]);
        self::assertSame(
            substr(strrchr($service['environment']['REALTIME_OPS_LISTEN'], ':'), 1),
            substr(strrchr($service['environment']['REALTIME_HEALTH_ADDRESS'], ':'), 1)
        );
        $check = ['sh', self::root() . '/deploy/docker/healthcheck.sh'];
        $this->execute($check, ['REALTIME_HEALTH_ADDRESS' => $ops])->assertExit();
    }

    /**
     * Starts a container's command on free ports and waits until it is ready.
     *
     * @param list<string> $arguments
     * @param array<string, string> $environment of the container
     * @param array<string, string> $over
     *
     * @return array{string, string} `host:port` of the sockets, and of the operations
     */
    private function startGateway(array $arguments, array $environment, array $over): array
    {
        [$port, $ops] = [self::freePort(), '127.0.0.1:' . self::freePort()];
        self::assertContains('--port=6001', $arguments);
        self::assertSame('0.0.0.0:6900', $environment['REALTIME_OPS_LISTEN']);
        $arguments = str_replace(['--port=6001', '--host=0.0.0.0'], ["--port=$port", '--host=127.0.0.1'], $arguments);
        $this->start(
            [$this->php(), ...$arguments],
            ['KAFKA_BROKERS' => self::address(), 'REALTIME_OPS_LISTEN' => $ops] + $over + $environment
        );
        self::waitUntilReady($ops);

        return ["127.0.0.1:$port", $ops];
    }

    /** @return list<array<string, mixed>> */
    private static function documents(string $file): array
    {
        $parts = preg_split('/^---$/m', self::file($file)) ?: [];

        return array_map(static fn (string $part): array => Yaml::parse($part), $parts);
    }
}
