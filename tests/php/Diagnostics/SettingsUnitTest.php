<?php

/**
 * The settings that the doctor finds, and which topics belong to the application.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Diagnostics\GatewaySettings;
use Toporia\Realtime\Diagnostics\Settings;
use Toporia\Realtime\Diagnostics\ApplicationTopics;

final class SettingsUnitTest extends TestCase
{
    protected function tearDown(): void
    {
        foreach (['KAFKA_BROKERS', 'KAFKA_SASL_PASSWORD', 'REALTIME_BROKER', 'REALTIME_ALLOWED_ORIGINS'] as $name) {
            putenv($name);
        }
    }

    public function testTheBrokersOwnArrayThenTheTopThenTheEnvironmentThenTheDefault(): void
    {
        self::assertSame(['localhost:9092'], (new Settings([]))->addresses());
        putenv('KAFKA_BROKERS=env:9092');
        self::assertSame(['env:9092'], (new Settings([]))->addresses());
        self::assertSame(['env:9092'], (new Settings(['brokers' => ['kafka' => ['brokers' => '']]]))->addresses(), 'empty is unset');
        self::assertSame(['top:1', 'top:2'], (new Settings(['brokers' => 'top:1, top:2']))->addresses());
        $config = ['topic_prefix' => 'top', 'brokers' => ['kafka' => ['brokers' => ['own:1', 'own:2']], 'b' => ['topic_prefix' => 'bee']]];
        self::assertSame(['own:1', 'own:2'], (new Settings($config))->addresses());
        self::assertSame('top', (new Settings($config))->prefix());
        self::assertSame('bee', (new Settings($config, 'b'))->prefix());
        $property = ['brokers' => ['kafka' => ['consumer_config' => ['group.id' => 'g', 'bootstrap.servers' => 'p:1']]]];
        self::assertSame('g', (new Settings($property))->group());
        self::assertSame(['p:1'], (new Settings($property))->addresses());
    }

    public function testWhichBroker(): void
    {
        $two = ['brokers' => ['a' => ['topic_prefix' => 'pa'], 'b' => ['topic_prefix' => 'pb']]];
        self::assertSame('a', (new Settings($two + ['default_broker' => 'a']))->name);
        putenv('REALTIME_BROKER=b');
        self::assertSame('pb', (new Settings($two))->prefix());
        self::assertSame('only', (new Settings(['brokers' => ['only' => ['topic_prefix' => 'x']]]))->name);
    }

    public function testSecurity(): void
    {
        putenv('KAFKA_SASL_PASSWORD=from-env');
        $security = (new Settings(['security' => ['protocol' => 'SASL_SSL', 'username' => 'u', 'verify' => false],
            'producer_config' => ['sasl.mechanisms' => 'scram-sha-256']]))->security();
        self::assertSame(['sasl_ssl', 'SCRAM-SHA-256', 'u', 'from-env', false], [$security->protocol, $security->mechanism,
            $security->username, $security->password, $security->verify]);
        self::assertTrue($security->usesTls() && $security->usesSasl());
        self::assertStringNotContainsString('from-env', print_r($security, true));
        self::assertSame('plaintext', (new Settings([]))->security()->protocol);
    }

    public function testTopicsOfChannels(): void
    {
        $existing = ['realtime_user_1', 'realtime_user_22', 'realtime_user_1_x', 'realtime_order_1', 'other_user_1', 'realtimeX'];
        $topics = new ApplicationTopics(new Settings([]));
        self::assertSame(['realtime_user_1', 'realtime_a_b'], $topics->of(['user.1', 'a.b'], $existing));
        self::assertSame(['realtime_user_1', 'realtime_user_22', 'realtime_user_1_x'], $topics->of(['user.**'], $existing));
        self::assertSame(['realtime_user_1', 'realtime_user_22', 'realtime_user_1_x', 'realtime_order_1'], $topics->own($existing));
        $dots = new ApplicationTopics(new Settings(['topic_strategy' => 'one-per-channel-dots']));
        self::assertSame(['realtime_user.1'], $dots->of(['user.1'], []));
        $grouped = new ApplicationTopics(new Settings(['topic_strategy' => 'grouped', 'default_partitions' => 4, 'topic_mapping' => [
            'user.*' => ['topic' => 'r.user', 'partitions' => 6, 'replication_factor' => 3],
            'order.**' => 'r.order',
        ]]));
        self::assertSame(['r.user', 'r.order', 'realtime'], $grouped->of(['user.7', 'order.1.x', 'chat.1'], []));
        self::assertSame(['r.user', 'r.order', 'realtime'], $grouped->of(['**'], []));
        self::assertSame(['r.user'], $grouped->own(['r.user', 'realtime_x']));
        self::assertSame([
            'r.user' => ['partitions' => 6, 'replication' => 3],
            'r.order' => ['partitions' => 4, 'replication' => null],
            'realtime' => ['partitions' => 4, 'replication' => null],
        ], $grouped->configured());
    }

    public function testTheGateway(): void
    {
        self::assertFalse((new GatewaySettings([]))->isConfigured());
        $settings = new GatewaySettings(['gateway' => ['secret' => 's', 'ops_listen' => false]]);
        self::assertTrue($settings->isConfigured());
        self::assertNull($settings->ops());
        putenv('REALTIME_ALLOWED_ORIGINS=https://a, https://b');
        self::assertSame(['https://a', 'https://b'], (new GatewaySettings([]))->texts('allowed_origins'));
        self::assertTrue(GatewaySettings::isLoopback('[::1]') && !GatewaySettings::isLoopback('0.0.0.0'));
    }
}
