<?php

/**
 * deploy/pm2: Node.js reads the file, and the processes PM2 would start are the documented ones.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

final class Pm2EmbeddedTest extends DeployTestCase
{
    public function testTheProcessesPm2WouldStart(): void
    {
        $script = 'process.stdout.write(JSON.stringify(require(process.argv[1]).apps))';
        $environment = [
            'PHP' => $this->php(),
            'REALTIME_APP_DIRECTORY' => $this->app,
            'KAFKA_BROKERS' => self::address(),
            'REALTIME_PHP_OPTIONS' => '-d memory_limit=512M',
            'REALTIME_WEBHOOK_URLS' => 'https://shop.example/webhooks',
        ];
        $file = self::root() . '/deploy/pm2/ecosystem.config.cjs';
        $apps = $this->execute([self::program('node'), '-e', $script, $file], $environment)->json();
        self::assertCount(5, array_unique(array_column($apps, 'name')));
        foreach ($apps as $app) {
            self::assertSame($this->php(), $app['script']);
            self::assertSame('none', $app['interpreter'], 'PHP does not run in Node.js');
            self::assertTrue($app['autorestart']);
            self::assertSame([2], $app['stop_exit_codes']);
            self::assertSame(self::address(), $app['env']['KAFKA_BROKERS']);
            self::assertSame(['-d', 'memory_limit=512M', 'vendor/bin/toporia-realtime'], array_slice($app['args'], 0, 3));
            $bound = $app['args'][3] === 'realtime:gateway' ? 15_000 : 30_000;
            self::assertGreaterThanOrEqual($bound, $app['kill_timeout'], 'ms until SIGKILL');
        }

        // Like PM2: program and arguments without a shell, and SIGINT at the end.
        $this->orderHandler();
        $free = '--metrics=127.0.0.1:' . self::freePort();
        $arguments = preg_replace('/^--metrics=.*/', $free, $apps[0]['args']);
        $worker = $this->start(
            [$apps[0]['script'], ...$arguments],
            $apps[0]['env'] + ['KAFKA_TOPIC_PREFIX' => $this->prefix]
        );
        $this->publish('order.1', 'a');
        $this->waitForEvents(1);
        $worker->signal(SIGINT)->wait(20.0)->assertExit();

        $sockets = [];
        $shared = $this->application();
        foreach (array_slice($apps, 2, 2) as $app) {
            [$port, $ops] = [self::freePort(), '127.0.0.1:' . self::freePort()];
            self::assertMatchesRegularExpression('/:1600\d$/', $app['env']['REALTIME_OPS_LISTEN']);
            $gateways[] = $this->start(
                [$app['script'], ...preg_replace('/^--port=.*/', "--port=$port", $app['args'])],
                ['REALTIME_OPS_LISTEN' => $ops] + $app['env'] + $shared
            );
            self::waitUntilReady($ops);
            $sockets[] = "127.0.0.1:$port";
        }
        self::assertBrowsersConnect($sockets);
        foreach ($gateways ?? [] as $gateway) {
            $gateway->signal(SIGINT)->wait(20.0)->assertExit();
        }
        $webhooks = $this->start([$apps[4]['script'], ...$apps[4]['args']], $apps[4]['env'] + $shared);
        $webhooks->waitForOutput('~are sent to https://shop\.example/webhooks~');
        $webhooks->signal(SIGINT)->wait(20.0)->assertExit();
        unset($environment['REALTIME_WEBHOOK_URLS']);
        $apps = $this->execute([self::program('node'), '-e', $script, $file], $environment)->json();
        self::assertNotContains('realtime-webhooks', array_column($apps, 'name'));
    }
}
