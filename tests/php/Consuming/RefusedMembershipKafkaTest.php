<?php

/**
 * Settings with which a group never admits the consumer: consume() and poll() say so, instead of waiting for ever.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;

final class RefusedMembershipKafkaTest extends ConsumingTestCase
{
    /** @return array<string, array{array<string, mixed>, string}> */
    public static function settings(): array
    {
        $hour = 3_600_000;

        return [
            'session too long' => [
                ['session.timeout.ms' => $hour, 'max.poll.interval.ms' => $hour], 'group.max.session.timeout.ms',
            ],
            'session too short' => [
                ['session.timeout.ms' => 100, 'heartbeat.interval.ms' => 30], 'group.min.session.timeout.ms',
            ],
            'other assignors' => [['partition.assignment.strategy' => 'range'], 'partition.assignment.strategy'],
        ];
    }

    /**
     * @param array<string, mixed> $settings
     *
     * @dataProvider settings
     */
    #[DataProvider('settings')]
    public function testTheExceptionNamesTheSetting(array $settings, string $name): void
    {
        $this->publish('user.1', [1]);
        $member = $this->broker()->subscribe('user.1');
        self::assertSame(1, $member->poll(20_000)?->getData());
        $pull = $this->broker(['consumer_config' => $settings])->subscribe('user.1');
        $push = $this->broker(['consumer_config' => $settings])->subscribe('user.1', static fn () => null);
        $calls = [
            static fn (): mixed => $pull->poll(20_000),
            static fn (): int => $push->onTick(static fn (Broker $b) => $member->poll(10))->consume(maxMessages: 1),
        ];
        foreach ($calls as $call) {
            $start = microtime(true);
            try {
                $call();
                self::fail('It waited.');
            } catch (ConfigurationException $e) {
                self::assertStringContainsString($name, $e->getMessage());
                self::assertLessThan(10.0, microtime(true) - $start);
            }
        }
        $pull->close();
        $push->close();
        $member->close();
    }
}
