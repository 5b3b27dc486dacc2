<?php

/**
 * The options of the gateway, alone and with a consumer: defaults, and a clear error for every invalid value.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\ConsumeOptions;
use Toporia\Realtime\Worker\GatewayOptions;
use Toporia\Realtime\Worker\UsageError;

final class GatewayOptionsUnitTest extends TestCase
{
    public function testDefaultsDoNotChangeTheConfiguration(): void
    {
        $options = GatewayOptions::fromArray([]);
        self::assertSame(['broker' => 'kafka'], $options->settings());
        self::assertSame(5000, $options->drainMs);
    }

    public function testGivenOptionsWin(): void
    {
        $options = GatewayOptions::fromArray([
            'broker' => 'events', 'host' => '0.0.0.0', 'port' => '0', 'ws-channels' => ['order.*,a', 'public.**'],
            'drain' => '250',
        ]);
        self::assertSame(
            ['broker' => 'events', 'host' => '0.0.0.0', 'port' => 0, 'ws_channels' => ['order.*', 'a', 'public.**']],
            $options->settings()
        );
        self::assertSame(250, $options->drainMs);
    }

    /**
     * @dataProvider wrong
     *
     * @param array<string, mixed> $raw
     */
    #[DataProvider('wrong')]
    public function testInvalidValuesAreNamed(array $raw, string $message): void
    {
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage($message);
        GatewayOptions::fromArray($raw);
    }

    /** @return array<string, array{array<string, mixed>, string}> */
    public static function wrong(): array
    {
        return [
            'an empty host' => [['host' => ''], '--host needs a value'],
            'a port in words' => [['port' => 'http'], "--port='http' is not a whole number"],
            'a port out of range' => [['port' => '65536'], '--port=65536 is out of range'],
            'a hole in the channels' => [['ws-channels' => 'a,,b'], "--ws-channels='a,,b' has an empty name"],
            'a negative drain' => [['drain' => '-1'], '--drain=-1 is out of range'],
            'a drain of hours' => [['drain' => '9000000'], '--drain=9000000 is out of range'],
            'an empty broker' => [['broker' => ' '], '--broker needs a value'],
        ];
    }

    /**
     * @dataProvider addresses
     *
     * @param array<string, mixed> $expected
     */
    #[DataProvider('addresses')]
    public function testAddresses(mixed $given, array $expected): void
    {
        self::assertSame($expected, OptionValue::address('--websocket', $given));
    }

    /** @return list<array{mixed, array<string, mixed>}> */
    public static function addresses(): array
    {
        return [
            ['6001', ['port' => 6001]],
            [6001, ['port' => 6001]],
            [':6001', ['port' => 6001]],
            ['0.0.0.0', ['host' => '0.0.0.0']],
            ['127.0.0.1:0', ['host' => '127.0.0.1', 'port' => 0]],
            ['gateway-1.internal:80', ['host' => 'gateway-1.internal', 'port' => 80]],
            ['[::1]:6001', ['host' => '::1', 'port' => 6001]],
            ['[::]', ['host' => '::']],
        ];
    }

    /** @dataProvider noAddresses */
    #[DataProvider('noAddresses')]
    public function testInvalidAddresses(string $given): void
    {
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage('--websocket');
        OptionValue::address('--websocket', $given);
    }

    /** @return list<array{string}> */
    public static function noAddresses(): array
    {
        return [[''], [':'], ['::1'], ['a b'], ['host:'], ['host:x'], ['host:70000'], ['http://host:1'], ["host\n:1"]];
    }

    public function testWithAConsumer(): void
    {
        self::assertNull(ConsumeOptions::fromArray(['channels' => 'a', 'websocket' => false])->gateway);
        foreach ([null, true] as $bare) {
            $options = ConsumeOptions::fromArray(['websocket' => $bare]);
            self::assertSame([], $options->channels, 'channels are for callbacks');
            self::assertSame(['broker' => 'kafka'], $options->gateway?->settings());
        }
        $options = ConsumeOptions::fromArray([
            'channels' => 'a', 'broker' => 'events', 'websocket' => '0.0.0.0:7001', 'ws-channels' => 'order.*',
            'drain' => 100,
        ]);
        self::assertSame(['a'], $options->channels);
        self::assertSame(
            ['broker' => 'events', 'host' => '0.0.0.0', 'port' => 7001, 'ws_channels' => ['order.*']],
            $options->gateway?->settings()
        );
        self::assertSame(100, $options->gateway->drainMs);
    }

    public function testWsChannelsWithoutAWebsocketIsWrongUsage(): void
    {
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage('requires --websocket');
        ConsumeOptions::fromArray(['channels' => 'a', 'ws-channels' => 'b']);
    }

    public function testTheDrainOptionIsCheckedWithoutAWebsocketToo(): void
    {
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage("--drain='soon' is not a whole number");
        ConsumeOptions::fromArray(['channels' => 'a', 'drain' => 'soon']);
    }

    public function testAHandlerNeedsChannelsAlsoWithTheGateway(): void
    {
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage('--channels is required');
        ConsumeOptions::fromArray(['websocket' => null, 'handler' => 'H']);
    }

    /**
     * @dataProvider forConsumers
     *
     * @param array<string, mixed> $raw
     */
    #[DataProvider('forConsumers')]
    public function testConsumerOptionsWithoutAConsumerAreWrongUsage(array $raw, string $option): void
    {
        $options = ConsumeOptions::fromArray($raw + ['websocket' => null, 'channels' => 'a']);
        $this->expectException(UsageError::class);
        $this->expectExceptionMessage("$option requires a consumer");
        $options->rejectConsumerOptions();
    }

    /** @return list<array{array<string, mixed>, string}> */
    public static function forConsumers(): array
    {
        return [
            [['max-messages' => 1], '--max-messages'],
            [['stop-when-empty' => true], '--stop-when-empty'],
            [['from' => 'end'], '--from'],
            [['group' => 'g'], '--group'],
            [['handler-lifetime' => '5'], '--handler-lifetime'],
            [['dlq-enabled' => true], '--dlq-enabled'],
            [['no-dlq' => true], '--no-dlq'],
        ];
    }
}
