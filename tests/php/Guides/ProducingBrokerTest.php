<?php

/**
 * The producing code of the guides: a service with named arguments, publish() with a Message, helper functions, Kafka
 * down.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Tests\Guides\App\CarefulCommand;
use Toporia\Realtime\Tests\Guides\App\HelpersCommand;
use Toporia\Realtime\Tests\Guides\App\NotifyCommand;
use Toporia\Realtime\Tests\Guides\App\PublishCommand;

final class ProducingBrokerTest extends GuidesTestCase
{
    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testAServiceBroadcastsWithNamedArguments(string $way): void
    {
        $result = $this->start($way, NotifyCommand::class)->wait()->assertExit();
        self::assertSame("Sent\n", $result->stdout, $result->describe());

        [$notification] = $this->sent('user.1', 1);
        self::assertSame(
            ['user.1', 'notification', 'Hello'],
            [$notification['channel'], $notification['event'], $notification['data']['title']]
        );
        self::assertSame(['title' => 'Sale'], $this->sent('public.announcements', 1)[0]['data']);
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testMessagesOfTheFrameworksClassArePublished(string $way): void
    {
        $this->start($way, PublishCommand::class, '[]', ['--count=2'])->wait()->assertExit();

        $orders = $this->sent('orders.events', 2);
        self::assertSame([['order_id' => 1], ['order_id' => 2]], array_column($orders, 'data'));
        self::assertSame(['order.created', 'order.created'], array_column($orders, 'event'));
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testTheHelperFunctions(string $way): void
    {
        $result = $this->start($way, HelpersCommand::class)->wait()->assertExit();
        self::assertSame(["prefix: $this->prefix", 'unknown: NULL'], $result->lines(), $result->describe());
        self::assertSame(
            ['helpers', 'function', 'broker'],
            array_column(array_column($this->sent('public.news', 3), 'data'), 'title')
        );
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testTheRequestContinuesWhileKafkaIsDown(string $way): void
    {
        $result = $this->start($way, CarefulCommand::class, "['brokers' => '127.0.0.1:1']", [], [
            'ini' => ['toporia_realtime.shutdown_flush_ms' => '200'],
        ])->wait()->assertExit();
        self::assertSame('saved', $result->lines()[0], $result->describe());
        preg_match('/after (\d+) ms/', $result->stdout, $ms);
        self::assertLessThan(500, (int) $ms[1]);
        // The loss is not silent either: without a spool it is reported.
        self::assertStringContainsString('was not delivered to 127.0.0.1:1', $result->stderr);
    }
}
