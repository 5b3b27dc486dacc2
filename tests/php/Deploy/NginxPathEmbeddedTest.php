<?php

/**
 * A gateway below a path of the main domain, behind nginx that passes the path on and nginx that removes it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use Toporia\Realtime\Gateway;
use Toporia\Realtime\Tests\Gateway\RunsGateways;
use Toporia\Realtime\Tests\Support\PusherClient;
use Toporia\Realtime\Tests\Support\WebSocketClient;

final class NginxPathEmbeddedTest extends DeployTestCase
{
    use RunsGateways;

    private Gateway $gateway;
    private string $address;

    protected function setUp(): void
    {
        parent::setUp();
        $this->gateway = $this->gateway([
            'path_prefix' => '/realtime/',
            'trusted_proxies' => ['127.0.0.1'],
            'allowed_origins' => ['https://*.shop.example'],
        ]);
        $this->address = '127.0.0.1:' . self::freePort();
        $temporary = '';
        foreach (['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'] as $what) {
            $temporary .= "{$what}_temp_path $this->app/nginx-$what;";
        }
        $proxy = 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;'
            . 'proxy_set_header Connection $realtime_connection; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;';
        $user = posix_getuid() === 0 ? 'user root;' : '';
        $main = $this->write('nginx.conf', <<<CONF
            $user
            daemon off;
            worker_processes 1;
            pid $this->app/nginx.pid;
            events { worker_connections 256; }
            http {
                access_log off;
                error_log stderr warn;
                $temporary
                map \$http_upgrade \$realtime_connection { default upgrade; '' close; }
                upstream gateways { server {$this->gateway->address()}; }
                server {
                    listen $this->address;
                    location /realtime/ { $proxy proxy_pass http://gateways; }
                    location /stripped/ { $proxy proxy_pass http://gateways/; }
                    location / { return 404; }
                }
            }
            CONF);
        $this->start([self::program('nginx'), '-p', $this->app, '-e', 'stderr', '-c', $main]);
        self::eventually(fn () => is_resource(@stream_socket_client("tcp://$this->address")), 'nginx listens', 10.0);
    }

    /** @return array<string, array{string}> */
    public static function prefixes(): array
    {
        return ['passed on' => ['/realtime'], 'removed' => ['/stripped']];
    }

    /** @dataProvider prefixes */
    #[\PHPUnit\Framework\Attributes\DataProvider('prefixes')]
    public function testBrowsersAndTheHttpApiReachTheGateway(string $prefix): void
    {
        $origin = ['Origin' => 'https://a.shop.example'];
        $client = new PusherClient($this->address, $this->settings(), $origin, null, $prefix);
        $client->subscribe('private-order.7');
        $this->broadcast('order.7', 'paid', 7);
        self::assertSame(7, $client->event('paid')['data']);
        self::assertSame("OK\n", file_get_contents("http://$this->address$prefix/up"));

        // As Pusher's PHP library with the option `path`: the signature does not cover the prefix.
        $query = 'auth_key=shop-key&auth_timestamp=' . time() . '&auth_version=1.0';
        $signature = hash_hmac('sha256', "GET\n/apps/shop/channels\n$query", $this->secret);
        $answer = file_get_contents("http://$this->address$prefix/apps/shop/channels?$query&auth_signature=$signature");
        self::assertSame('{"channels":{"private-order.7":{}}}', $answer);
    }

    public function testOtherPathsAndOriginsAreRefused(): void
    {
        $open = fn (string $path, string $origin): ?int => (new WebSocketClient(
            $this->address,
            "$path/app/shop-key?protocol=7",
            ['Origin' => $origin]
        ))->closed()[0] ?? null;
        self::assertSame(4005, $open('/stripped/other', 'https://a.shop.example'));
        self::assertSame(4005, $open('/realtime/realtime', 'https://a.shop.example'));
        self::assertSame(4009, $open('/realtime', 'https://shop.example'));
        self::assertSame(4009, $open('/realtime', 'https://a.b.shop.example'));
        self::assertSame(4009, $open('/realtime', 'https://shop.example.evil.test'));
    }
}
