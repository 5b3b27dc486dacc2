<?php

/**
 * deploy/nginx in a real nginx, with TLS, in front of two gateways: browsers connect, and a restart loses nothing.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use PHPUnit\Framework\Assert;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Tests\Gateway\RunsGateways;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\PusherClient;
use Toporia\Realtime\Tests\Support\WebSocketClient;

final class NginxEmbeddedTest extends DeployTestCase
{
    use RunsGateways;

    private const HOST = 'ws.shop.example';

    /** @var list<Gateway> */
    private array $pair;
    private string $tls;
    private string $plain;
    private string $certificate;
    private ChildProcess $nginx;

    protected function setUp(): void
    {
        parent::setUp();
        $settings = ['trusted_proxies' => ['127.0.0.1'], 'max_connections_per_address' => 2];
        $this->pair = [$this->gateway($settings), $this->gateway($settings)];
        $this->tls = '127.0.0.1:' . self::freePort();
        $this->plain = '127.0.0.1:' . self::freePort();
        $this->certificate = $this->certify();
        $this->write('realtime.conf', self::file('nginx/toporia-realtime.conf', [
            'listen 443 ssl' => "listen $this->tls ssl",
            'listen [::]:443 ssl http2;' => '',
            'listen 80;' => "listen $this->plain;",
            'listen [::]:80;' => '',
            '/etc/ssl/realtime/' => "$this->app/",
            'server 127.0.0.1:6001 ' => "server {$this->pair[0]->address()} ",
            'server 127.0.0.1:6002 ' => "server {$this->pair[1]->address()} ",
        ]));
        $temporary = '';
        foreach (['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'] as $what) {
            $temporary .= "{$what}_temp_path $this->app/nginx-$what;";
        }
        $user = posix_getuid() === 0 ? 'user root;' : '';
        $main = $this->write('nginx.conf', <<<CONF
            $user
            daemon off;
            worker_processes 1;
            pid $this->app/nginx.pid;
            events { worker_connections 256; }
            http {
                error_log stderr warn;
                access_log off;
                $temporary
                include $this->app/realtime.conf;
            }
            CONF);
        $command = [self::program('nginx'), '-p', $this->app, '-e', 'stderr', '-c', $main];
        $check = $this->execute([...$command, '-t'])->assertExit();
        self::assertStringContainsString('test is successful', $check->stderr);
        self::assertStringNotContainsString('[warn]', $check->stderr);
        $this->nginx = $this->start($command);
        self::eventually(fn () => is_resource(@stream_socket_client("tcp://$this->tls")), 'nginx listens', 10.0);
    }

    public function testBroadcastsReachABrowserOverTls(): void
    {
        $client = $this->browser();
        $client->subscribe('private-order.7');
        $this->broadcast('order.7', 'paid', ['total' => 149.95]);
        self::assertSame(['total' => 149.95], $client->event('paid')['data']);
        // Larger than the buffers of nginx and TLS.
        $this->broadcast('order.7', 'large', str_repeat('x', 100_000));
        self::assertSame(100_000, strlen($client->event('large')['data']));
        $client->say('pusher:ping', []);
        $client->event('pusher:pong');
    }

    public function testARestartOfOneGatewayLosesNothingForItsBrowsers(): void
    {
        $clients = [$this->browser(), $this->browser(), $this->browser(), $this->browser()];
        $counts = array_map(static fn (Gateway $gateway) => $gateway->stats()['connections'], $this->pair);
        self::assertSame([2, 2], $counts, 'nginx divides them');
        $this->pair[0]->stop(2000);
        $again = [];
        foreach ($clients as $client) {
            if (($client->socket->closed(1.0)[0] ?? null) === 4200) {
                $start = microtime(true);
                $again[] = $this->browser();
                self::assertLessThan(2.0, microtime(true) - $start);
            }
        }
        self::assertCount(2, $again, 'those of the gateway that went, and no others');
        $again[0]->subscribe('private-order.7');
        $this->broadcast('order.7', 'paid', 7);
        self::assertSame(7, $again[0]->event('paid')['data']);
        self::assertStringContainsString('Connection refused', $this->nginx->stderr(), 'nginx tried both');
    }

    /**
     * An operations listener on the port of the second gateway took half of its browsers, who got 404.
     */
    public function testFortyBrowsersConnectThoughAnOperationsListenerIsSetToAPortOfSockets(): void
    {
        $this->pair[0]->stop(0);
        $this->gateway([
            'port' => (int) substr((string) strrchr($this->pair[0]->address(), ':'), 1),
            'ops_listen' => $this->pair[1]->address(),
        ]);
        $open = [];
        for ($i = 0; $i < 40; $i++) {
            $open[] = $this->browser();
        }
        self::assertCount(40, $open);
        self::assertGreaterThan(10, $this->pair[1]->stats()['connections']);
    }

    public function testTheGatewaySeesTheBrowsersAddress(): void
    {
        $from = static fn (string $address): array => ['X-Forwarded-For' => $address];
        // Two from one address on each gateway are allowed, a third is not; another address is unaffected.
        $held = [];
        for ($i = 0; $i < 4; $i++) {
            $held[] = $this->browser($from('203.0.113.7'));
        }
        $held[] = $this->browser($from('203.0.113.8'));
        $held[] = $refused = $this->connect('/app/shop-key?protocol=7', $from('203.0.113.7'));
        self::assertSame(4100, $refused->closed()[0] ?? null);
    }

    public function testOnlyTheSocketsAreExposed(): void
    {
        self::assertStringContainsString(' 101 ', $this->connect('/app/shop-key?protocol=7')->status);
        foreach (['/apps/shop/channels', '/metrics', '/ready', '/'] as $path) {
            self::assertStringContainsString(' 404 ', $this->connect($path)->status, $path);
        }
        self::assertStringContainsString(' 200 ', $this->connect('/up')->status);
        $plain = new WebSocketClient($this->plain, '/app/shop-key', ['Host' => self::HOST]);
        self::assertStringContainsString(' 301 ', $plain->status);
        self::assertSame('https://' . self::HOST . '/app/shop-key', $plain->headers['location']);
    }

    /** @param array<string, string> $headers */
    private function browser(array $headers = []): PusherClient
    {
        return new PusherClient($this->tls, $this->settings(), ['Host' => self::HOST] + $headers, $this->trust());
    }

    /** @param array<string, string> $headers */
    private function connect(string $path, array $headers = []): WebSocketClient
    {
        return new WebSocketClient($this->tls, $path, ['Host' => self::HOST] + $headers, $this->trust());
    }

    /** @return array<string, mixed> the certificate is checked, as a browser does */
    private function trust(): array
    {
        return ['cafile' => $this->certificate, 'peer_name' => self::HOST, 'verify_peer' => true];
    }

    /** Creates a certificate for the host, and returns the file. */
    private function certify(): string
    {
        $configuration = $this->write('openssl.cnf', "[req]\ndistinguished_name = dn\n[dn]\n[san]\nsubjectAltName = DNS:"
            . self::HOST . "\n");
        $options = ['config' => $configuration, 'x509_extensions' => 'san', 'digest_alg' => 'sha256', 'private_key_bits' => 2048];
        $key = openssl_pkey_new(['private_key_type' => OPENSSL_KEYTYPE_EC, 'curve_name' => 'prime256v1'] + $options);
        Assert::assertNotFalse($key, (string) openssl_error_string());
        $request = openssl_csr_new(['commonName' => self::HOST], $key, $options);
        Assert::assertIsObject($request, (string) openssl_error_string());
        $certificate = openssl_csr_sign($request, null, $key, 1, $options);
        Assert::assertNotFalse($certificate, (string) openssl_error_string());
        openssl_pkey_export_to_file($key, "$this->app/privkey.pem", null, $options);
        openssl_x509_export_to_file($certificate, "$this->app/fullchain.pem");

        return "$this->app/fullchain.pem";
    }
}
