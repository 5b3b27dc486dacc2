<?php

/**
 * Producer, consumer, admin and gateway over TLS and SASL: valid clients work, and errors are explained.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Security;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\PusherClient;

final class ClientsKafkaTest extends SecureTestCase
{
    private const WRONG = 'Wr0ng-and-s3cret';

    /** @return array<string, array{string, string}> */
    public static function ways(): array
    {
        return [
            'SCRAM-SHA-512 over TLS' => ['sasl_ssl', 'SCRAM-SHA-512'],
            'SCRAM-SHA-256 over TLS' => ['sasl_ssl', 'SCRAM-SHA-256'],
            'PLAIN over TLS' => ['sasl_ssl', 'PLAIN'],
            'SCRAM-SHA-512 without TLS' => ['sasl_plaintext', 'SCRAM-SHA-512'],
            'TLS alone' => ['ssl', ''],
            'TLS with a certificate on both sides' => ['mutual', ''],
        ];
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testProducerConsumerAndAdminConnect(string $listener, string $mechanism): void
    {
        $settings = self::kafka()->settings($listener, $mechanism);
        Realtime::configure($this->config($settings));
        $id = Realtime::broadcast('user.1', 'paid', ['id' => 7]);
        Realtime::flush();
        $topic = $this->channelTopic('user.1');
        $messages = $this->consumeAll($topic, 1);
        self::assertSame([$id], array_column(array_map(
            static fn ($message): array => json_decode((string) $message->getPayload(), true),
            $messages
        ), 'id'));
        $admin = new Admin($this->config($settings));
        self::assertSame([$topic], array_keys($admin->topics("{$this->prefix}_**")));
        self::assertSame(1, array_sum(array_column($admin->offsets($topic), 'end')));
        $admin->close();
    }

    /** @return array<string, array{string, string}> */
    public static function someWays(): array
    {
        return array_intersect_key(self::ways(), ['SCRAM-SHA-512 over TLS' => true, 'TLS alone' => true]);
    }

    /** @dataProvider someWays */
    #[DataProvider('someWays')]
    public function testTheEnvironmentAloneIsEnough(string $listener, string $mechanism): void
    {
        $env = self::kafka()->environment($listener, $mechanism);
        $unset = array_fill_keys(['KAFKA_SASL_MECHANISM', 'KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD'], null);
        $this->runConsole(['realtime:kafka:publish', 'user.1', 'paid', '{"id":7}'], ['env' => $env + $unset])->assertExit();
        $read = ['realtime:kafka:consume', '--channels=user.1', '--max-messages=1', '--max-time=15'];
        $result = $this->runConsole($read, ['env' => $env + $unset])->assertExit();
        self::assertStringContainsString('paid  {"id":7}', $result->stdout);
        self::assertStringNotContainsString('shop-password', $result->stdout . $result->stderr);
    }

    public function testTheGatewayDeliversMessagesReceivedOverTls(): void
    {
        $keys = ['app_id' => '1', 'key' => 'key', 'secret' => bin2hex(random_bytes(16))];
        $gateway = new Gateway($keys + ['port' => 0, 'ops_listen' => 'off', 'broker' => $this->config()]);
        $gateway->start();
        $client = new PusherClient($gateway->address(), $keys);
        $client->subscribe('public.news');
        Realtime::broadcast('public.news', 'published', 42);
        Realtime::flush();
        self::assertSame(42, $client->event('published', null, 20.0)['data']);
        $gateway->stop(0);
    }

    /** @return array<string, array{string}> */
    public static function mechanisms(): array
    {
        return ['SCRAM' => ['SCRAM-SHA-512'], 'PLAIN' => ['PLAIN']];
    }

    /** @dataProvider mechanisms */
    #[DataProvider('mechanisms')]
    public function testAWrongPasswordEndsTheWorkerWithAClearError(string $mechanism): void
    {
        $env = ['KAFKA_SASL_PASSWORD' => self::WRONG, 'KAFKA_SASL_MECHANISM' => $mechanism];
        $result = $this->runConsole(['realtime:kafka:consume', '--channels=user.1'], ['env' => $env])->assertExit(1);
        self::assertMatchesRegularExpression('/FAILED: .*SASL authentication error.*security\.password/', $result->stdout);
        self::assertStringNotContainsString(self::WRONG, $result->stdout . $result->stderr);
    }

    public function testAWrongPasswordIsReportedByFlushAndAdmin(): void
    {
        // In a process of its own: an unsendable message stays queued until the end.
        $result = $this->runPhp(<<<'PHP'
            Realtime::broadcast('user.1', 'paid', 1);
            try {
                Realtime::flush(1500);
            } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                echo $e->getMessage(), "\n";
            }
            try {
                (new Toporia\Realtime\Admin())->topics();
            } catch (Toporia\Realtime\Exception\ConnectionException $e) {
                echo $e->getMessage(), "\n";
            }
            PHP, ['env' => ['KAFKA_SASL_PASSWORD' => self::WRONG], 'ini' => ['toporia_realtime.shutdown_flush_ms' => '0']])->assertExit();
        [$flush, $admin] = $result->lines();
        self::assertMatchesRegularExpression('/not delivered.*SASL authentication error.*realtime:doctor/', $flush);
        self::assertMatchesRegularExpression('/invalid credentials.*security\.password/', $admin);
        self::assertStringNotContainsString(self::WRONG, $result->stdout . $result->stderr);
    }

    /** @return array<string, array{string, array<string, string>}> */
    public static function untrusted(): array
    {
        return [
            'an untrusted authority' => ['ssl', ['ca' => 'other_ca']],
            'an expired certificate' => ['expired', []],
            'a certificate of another host' => ['other_host', []],
        ];
    }

    /**
     * @dataProvider untrusted
     *
     * @param array<string, string> $other
     */
    #[DataProvider('untrusted')]
    public function testAnUntrustedBrokerGetsNothing(string $listener, array $other): void
    {
        // Without the user of the other tests, which a TLS-only listener does not accept.
        Realtime::configure([]);
        $settings = self::kafka()->settings($listener);
        foreach ($other as $key => $name) {
            $settings['security'][$key] = self::kafka()->of($name);
        }
        $admin = new Admin($this->config($settings));
        try {
            $admin->topics();
            self::fail('It was trusted.');
        } catch (ConnectionException $e) {
            self::assertStringContainsString('certificate verify failed', $e->getMessage());
            self::assertStringContainsString('security.ca', $e->getMessage());
        }
        // A worker waits, as a certificate may be renewed without a restart. But it reports what it waits for, and how
        // to check.
        $env = ['KAFKA_BROKERS' => $settings['brokers'], 'KAFKA_SECURITY_PROTOCOL' => 'SSL',
            'KAFKA_SSL_CA_LOCATION' => $settings['security']['ca'], 'KAFKA_SASL_USERNAME' => null];
        $worker = $this->startConsole(['realtime:kafka:consume', '--channels=user.1'], ['env' => $env]);
        $worker->waitForOutput('/waiting for Kafka: .*certificate verify failed.*realtime:doctor/', 15.0);
        $worker->signal()->wait(10.0)->assertExit();
    }

    public function testAForbiddenTopicIsNamedAndTheOthersContinue(): void
    {
        $broker = $this->broker();
        foreach (['user.1', 'user.2'] as $channel) {
            $broker->publish($channel, Message::event(null, 'paid', 1));
        }
        Realtime::flush();
        [$open, $closed] = [$this->channelTopic('user.1'), $this->channelTopic('user.2')];
        self::kafka()->acl('--deny-principal', 'User:shop', '--operation', 'Read', '--operation', 'Write', '--topic', $closed);
        // Sending: the message to the other channel arrives, and the refused one is named.
        $sender = $this->broker(['spool' => false]);
        self::eventually(static function () use ($sender, $closed): bool {
            $sender->publish('user.2', Message::event(null, 'paid', 2));
            $sender->publish('user.1', Message::event(null, 'paid', 2));
            try {
                Realtime::flush();

                return false;
            } catch (DeliveryException $e) {
                self::assertSame([$closed], array_values(array_unique(array_column($e->getFailed(), 'topic'))));
                self::assertStringContainsString('authorization failed', strtolower($e->getMessage()));

                return true;
            }
        }, 'the ACL takes effect');
        self::assertGreaterThanOrEqual(2, count($this->consumeAll($open, 2)));
        // Receiving: a subscriber of the forbidden topic gets its name; other subscribers continue.
        $both = ['realtime:kafka:consume', '--channels=user.1,user.2', '--max-time=15'];
        $result = $this->runConsole($both)->assertExit(1);
        self::assertMatchesRegularExpression("/FAILED: .*$closed.*ACLs/s", $result->stdout);
        $one = ['realtime:kafka:consume', '--channels=user.1', '--group=' . $this->group . '2', '--max-messages=2', '--max-time=15'];
        self::assertStringContainsString('2 handled', $this->runConsole($one)->assertExit()->stdout);
    }

    public function testAGatewayContinuesWithoutAForbiddenTopic(): void
    {
        foreach (['public.a', 'public.b'] as $channel) {
            Realtime::broadcast($channel, 'first', 1);
        }
        Realtime::flush();
        $closed = $this->channelTopic('public.b');
        $env = ['REALTIME_APP_ID' => '1', 'REALTIME_APP_KEY' => 'key', 'REALTIME_APP_SECRET' => bin2hex(random_bytes(16)),
            'REALTIME_GATEWAY_PORT' => '0', 'REALTIME_OPS_LISTEN' => 'off'];
        $gateway = $this->startConsole(['realtime:gateway'], ['env' => $env]);
        [, $address] = $gateway->waitForOutput('/listens on ([0-9.]+:[0-9]+)/', 20.0);
        $client = new PusherClient($address, ['app_id' => '1', 'key' => 'key', 'secret' => $env['REALTIME_APP_SECRET']]);
        $client->subscribe('public.a');
        self::kafka()->acl('--deny-principal', 'User:shop', '--operation', 'Read', '--topic', $closed);
        Realtime::broadcast('public.b', 'second', 2);
        $gateway->waitForOutput("/$closed.*[Aa]uthoriz/", 20.0);
        Realtime::broadcast('public.a', 'third', 3);
        Realtime::flush();
        self::assertSame(3, $client->event('third', null, 20.0)['data']);
        $gateway->signal()->wait(15.0)->assertExit();
    }
}
