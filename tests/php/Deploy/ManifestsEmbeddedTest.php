<?php

/**
 * The YAML of deploy/: it parses, its parts are consistent, and the containers are hardened as documented.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use PHPUnit\Framework\TestCase;
use Symfony\Component\Yaml\Yaml;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class ManifestsEmbeddedTest extends TestCase
{
    use RunsPhp;

    public static function setUpBeforeClass(): void
    {
        require_once '/usr/share/php/Symfony/Component/Yaml/autoload.php';
    }

    public function testTheKustomizationNamesEveryManifest(): void
    {
        $resources = self::documents('kubernetes/kustomization.yaml')[0]['resources'];
        $files = array_map('basename', (array) glob(self::root() . '/deploy/kubernetes/*.yaml'));
        self::assertEqualsCanonicalizing(array_values(array_diff($files, ['kustomization.yaml'])), $resources);
    }

    public function testNamesAndLabelsAreConsistent(): void
    {
        $by = self::byKind();
        foreach ($by['Deployment'] as $name => $deployment) {
            $labels = $deployment['spec']['template']['metadata']['labels'];
            self::assertSame($labels, $deployment['spec']['selector']['matchLabels'], $name);
            self::assertSame($labels, $by['PodDisruptionBudget'][$name]['spec']['selector']['matchLabels'], $name);
        }
        $gateway = $by['Deployment']['realtime-gateway'];
        $service = $by['Service']['realtime-gateway'];
        self::assertSame($gateway['spec']['selector']['matchLabels'], $service['spec']['selector']);
        self::assertContains($service['spec']['ports'][0]['targetPort'], array_column(self::container($gateway)['ports'], 'name'));
        $paths = $by['Ingress']['realtime-gateway']['spec']['rules'][0]['http']['paths'];
        self::assertSame(['/app/', '/sse'], array_column($paths, 'path'));
        foreach (array_column(array_column($paths, 'backend'), 'service') as $backend) {
            self::assertSame('realtime-gateway', $backend['name']);
            self::assertContains($backend['port']['name'], array_column($service['spec']['ports'], 'name'));
        }
        self::assertSame('realtime-worker', $by['ScaledObject']['realtime-worker']['spec']['scaleTargetRef']['name']);
        $scraped = $by['PodMonitor']['realtime']['spec']['selector']['matchExpressions'][0]['values'];
        self::assertEqualsCanonicalizing(array_keys($by['Deployment']), $scraped);
    }

    public function testContainersAreHardenedAndProbed(): void
    {
        foreach (self::byKind()['Deployment'] as $name => $deployment) {
            $pod = $deployment['spec']['template']['spec'];
            $container = self::container($deployment);
            self::assertTrue($pod['securityContext']['runAsNonRoot'], $name);
            self::assertFalse($pod['automountServiceAccountToken'], $name);
            self::assertTrue($container['securityContext']['readOnlyRootFilesystem'], $name);
            self::assertFalse($container['securityContext']['allowPrivilegeEscalation'], $name);
            self::assertSame(['ALL'], $container['securityContext']['capabilities']['drop'], $name);
            $ports = array_column($container['ports'], 'name');
            foreach (['startupProbe' => '/live', 'livenessProbe' => '/live', 'readinessProbe' => '/ready'] as $probe => $path) {
                self::assertSame($path, $container[$probe]['httpGet']['path'], $name);
                self::assertContains($container[$probe]['httpGet']['port'], $ports, $name);
            }
            self::assertArrayHasKey('memory', $container['resources']['limits'], $name);
            $mounted = array_column($container['volumeMounts'], 'name');
            self::assertEqualsCanonicalizing($mounted, array_column($pod['volumes'], 'name'), $name);
        }
    }

    public function testTheGracePeriodAllowsACleanStop(): void
    {
        $by = self::byKind()['Deployment'];
        // The running callback, 5 s for pending work, shutdown_flush_ms (10 s).
        self::assertGreaterThanOrEqual(30, $by['realtime-worker']['spec']['template']['spec']['terminationGracePeriodSeconds']);
        $gateway = $by['realtime-gateway']['spec']['template']['spec'];
        $drain = self::option(self::container($by['realtime-gateway'])['args'], 'drain');
        $before = (int) self::container($by['realtime-gateway'])['lifecycle']['preStop']['exec']['command'][1];
        self::assertGreaterThanOrEqual($before + (int) $drain / 1000 + 10, $gateway['terminationGracePeriodSeconds']);
    }

    public function testKedaWatchesTheGroupOfTheWorkersAndStopsAtThePartitions(): void
    {
        $by = self::byKind();
        $spec = $by['ScaledObject']['realtime-worker']['spec'];
        $kafka = $spec['triggers'][0];
        self::assertSame('kafka', $kafka['type']);
        $arguments = self::container($by['Deployment']['realtime-worker'])['args'];
        self::assertSame(self::option($arguments, 'group'), $kafka['metadata']['consumerGroup']);
        self::assertSame($by['ConfigMap']['realtime']['data']['KAFKA_BROKERS'], $kafka['metadata']['bootstrapServers']);
        // KEDA accepts only strings.
        self::assertSame($kafka['metadata'], array_filter($kafka['metadata'], 'is_string'));
        self::assertSame('false', $kafka['metadata']['allowIdleConsumers']);
        $comment = (string) file_get_contents(self::root() . '/deploy/kubernetes/keda.yaml');
        self::assertSame(1, preg_match('/The topic has (\d+) partitions/', $comment, $partitions));
        self::assertSame((int) $partitions[1], $spec['maxReplicaCount']);
        self::assertArrayNotHasKey('replicas', $by['Deployment']['realtime-worker']['spec'], 'KEDA decides');
    }

    /**
     * The default of ops_listen and the ports that the files set are none that the files use for sockets.
     */
    public function testOperationsPortsAndPortsOfSocketsAreDistinct(): void
    {
        $text = '';
        foreach (['nginx/*.conf', 'systemd/*', 'supervisor/*', 'pm2/*', 'docker/*', 'kubernetes/*'] as $files) {
            foreach ((array) glob(self::root() . "/deploy/$files") as $file) {
                $text .= file_get_contents((string) $file);
            }
        }
        preg_match_all('/--port=(\d+)\b|server 127\.0\.0\.1:(\d+)|gateway@(\d+)|gateway\((\d+)\)/', $text, $sockets);
        $sockets = array_unique(array_filter(array_merge(...array_slice($sockets, 1))));
        preg_match_all('/ops_listen.*?:(\d{2,5})|OPS_LISTEN.*?:(\d{2,5})/i', $text, $operations);
        $operations = array_unique(array_filter(array_merge(...array_slice($operations, 1))));
        $published = (string) file_get_contents(self::root() . '/php/Laravel/config/realtime.php');
        self::assertSame(1, preg_match("/'REALTIME_OPS_LISTEN', '127.0.0.1:(\d+)'/", $published, $default));
        self::assertSame('6900', $default[1]);
        self::assertContains('6001', $sockets);
        self::assertContains('6002', $sockets);
        self::assertSame([], array_intersect($sockets, [...$operations, $default[1]]));
    }

    public function testCompose(): void
    {
        $compose = self::documents('docker/compose.yaml')[0];
        $targets = self::targets();
        foreach ($compose['services'] as $name => $service) {
            self::assertTrue(isset($service['image']), $name);
            if (isset($service['build'])) {
                self::assertContains($service['build']['target'], $targets, $name);
                self::assertFileExists(self::root() . '/deploy/docker/' . $service['build']['context'] . '/Cargo.toml');
            }
            foreach ($service['volumes'] ?? [] as $volume) {
                $from = explode(':', $volume)[0];
                str_starts_with($from, '.')
                    ? self::assertFileExists(self::root() . "/deploy/docker/$from", $name)
                    : self::assertArrayHasKey($from, $compose['volumes'], $name);
            }
        }
        $monitoring = self::documents('docker/prometheus.compose.yml')[0]['scrape_configs'];
        foreach ($monitoring as $job) {
            self::assertArrayHasKey($job['dns_sd_configs'][0]['names'][0], $compose['services']);
        }
    }

    public function testTheDockerfileCopiesExistingFilesAndDoesNotRunAsRoot(): void
    {
        $file = (string) file_get_contents(self::root() . '/deploy/docker/Dockerfile');
        $ignored = file(self::root() . '/deploy/docker/Dockerfile.dockerignore', FILE_IGNORE_NEW_LINES) ?: [];
        $allowed = array_map(static fn ($line) => substr($line, 1), preg_grep('/^!/', $ignored) ?: []);
        preg_match_all('/^COPY (?!--from)(.+) \S+$/m', $file, $copies);
        self::assertNotSame([], $copies[1]);
        foreach (explode(' ', implode(' ', $copies[1])) as $source) {
            self::assertFileExists(self::root() . "/$source");
            $under = array_filter($allowed, static fn ($path) => $source === $path || str_starts_with($source, "$path/"));
            self::assertNotSame([], $under, "$source is left out by Dockerfile.dockerignore");
        }
        self::assertContains('build/packages/*.deb', $allowed, 'what the images install');
        preg_match_all('/^COPY --from=(\S+)/m', $file, $from);
        self::assertSame([], array_diff($from[1], self::targets()));
        foreach (preg_split('/^FROM /m', $file) ?: [] as $stage) {
            if (preg_match('/^\S+ AS (cli|fpm|gateway)$/m', strtok($stage, "\n") ?: '')) {
                preg_match_all('/^USER (\S+)/m', $stage, $users);
                self::assertSame('10001:10001', end($users[1]));
            }
        }
    }

    /** @return list<string> the stages of the Dockerfile */
    private static function targets(): array
    {
        preg_match_all('/^FROM \S+ AS (\S+)/m', (string) file_get_contents(self::root() . '/deploy/docker/Dockerfile'), $found);

        return $found[1];
    }

    /** @return list<array<string, mixed>> */
    private static function documents(string $file): array
    {
        $parts = preg_split('/^---$/m', (string) file_get_contents(self::root() . "/deploy/$file")) ?: [];

        return array_map(static fn (string $part): array => Yaml::parse($part, Yaml::PARSE_EXCEPTION_ON_INVALID_TYPE), $parts);
    }

    /** @return array<string, array<string, array<string, mixed>>> kind and name => manifest */
    private static function byKind(): array
    {
        $by = [];
        foreach (self::documents('kubernetes/kustomization.yaml')[0]['resources'] as $file) {
            foreach (self::documents("kubernetes/$file") as $document) {
                self::assertMatchesRegularExpression('~^([a-z0-9.]+/)?v\d+((alpha|beta)\d+)?$~', $document['apiVersion']);
                $by[$document['kind']][$document['metadata']['name']] = $document;
            }
        }

        return $by;
    }

    /**
     * @param array<string, mixed> $deployment
     *
     * @return array<string, mixed> its only container
     */
    private static function container(array $deployment): array
    {
        self::assertCount(1, $deployment['spec']['template']['spec']['containers']);

        return $deployment['spec']['template']['spec']['containers'][0];
    }

    /** @param list<string> $arguments */
    private static function option(array $arguments, string $name): string
    {
        $found = array_values(preg_grep("/^--$name=/", $arguments) ?: []);
        self::assertCount(1, $found, "--$name");

        return substr($found[0], strlen("--$name="));
    }
}
