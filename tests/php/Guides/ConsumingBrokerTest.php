<?php

/**
 * The consuming code of the guides: several channels, options and events, repeated events, retries, logging.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Guides\App\EchoingConsumer;
use Toporia\Realtime\Tests\Guides\App\LoggingConsumer;
use Toporia\Realtime\Tests\Guides\App\ReliableConsumer;
use Toporia\Realtime\Tests\Guides\App\SeveralChannelsConsumer;
use Toporia\Realtime\Tests\Guides\App\SwitchingConsumer;

final class ConsumingBrokerTest extends GuidesTestCase
{
    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testSeveralChannelsWithClosuresOverThis(string $way): void
    {
        $this->send('user.1', 'notification', ['title' => 'one']);
        $this->send('user.2', 'notification', ['title' => 'two']);
        $this->send('public.announcements', 'announcement', ['title' => 'all']);

        $consumer = $this->start($way, SeveralChannelsConsumer::class);
        foreach (['user\.1 - notification - one', 'user\.2 - notification - two', 'announcements - announcement - all'] as $line) {
            $consumer->waitForOutput("/Received: .*$line/");
        }
        $lines = $consumer->signal()->wait()->assertExit()->lines();
        self::assertSame('Subscribed to: user.1', $lines[0]);
        self::assertSame('Processed 3', end($lines));
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testAnInstanceofCheckAnOptionAndASwitchOnTheEvent(string $way): void
    {
        $this->send('user.1', 'order.created', ['order_id' => 7]);
        $this->send('user.1', 'user.updated', ['user_id' => 3]);
        $this->send('user.1', 'anything', ['a' => 1]);

        // Started by hand there is no command line: the default of option() applies.
        $consumer = $this->start($way, SwitchingConsumer::class, '[]', ['--channels=user.1,user.2', '--channels', 'user.3']);
        $consumer->waitForOutput('/passed on: anything/');
        $result = $consumer->signal()->wait()->assertExit();
        self::assertStringContainsString(
            $way === 'hand' ? "channels: user.1\n" : "channels: user.1 user.2 user.3\n",
            $result->stdout
        );
        self::assertStringContainsString('Processing order: 7', $result->stdout);
        self::assertSame([['order_id' => 7]], array_column($this->sent('admin.orders', 1), 'data'));
        self::assertSame(['profile.updated'], array_column($this->sent('profile.3', 1), 'event'));
        self::assertCount(3, $this->sent('user.1', 3), 'What the default case passed on came from there.');
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testTheSameEventFromItsOwnCallbackIsNotPublished(string $way): void
    {
        $this->send('test', 'first', ['price' => 9.5, 'list' => [1, 2]]);
        $this->send('test', 'second', null);

        $consumer = $this->start($way, EchoingConsumer::class);
        $consumer->waitForOutput('/echoed second/');
        // Long enough for a second echo, if there were one.
        usleep(700_000);
        $result = $consumer->signal()->wait()->assertExit();
        self::assertSame(['echoed first', 'echoed second'], $result->lines(), $result->describe());
        self::assertCount(2, $this->sent('test', 2));
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testRetriesAndIdsAfterConsumeReturned(string $way): void
    {
        $this->send('test', 'easy', ['n' => 1]);
        $this->send('test', 'difficult', ['n' => 2]);
        $this->send('test', 'last', ['n' => 3]);

        $result = $this->start($way, ReliableConsumer::class)->wait()->assertExit();
        self::assertSame(
            ['Failed after 3 retries: service down', 'Retrying 1 failed messages'],
            $result->lines(),
            $result->describe()
        );
        self::assertSame(['easy', 'last', 'difficult'], array_column($this->sent('done', 3), 'event'));
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testLoggingWithToArray(string $way): void
    {
        $this->send('test', 'order.created', ['order_id' => 7, 'parts' => 0]);
        $this->send('test', 'order.created', ['order_id' => 8, 'parts' => 2]);

        $consumer = $this->start($way, LoggingConsumer::class, '[]', [], ['ini' => ['log_errors' => '1']]);
        $consumer->waitForOutput('/"processed":1/');
        $result = $consumer->signal()->wait()->assertExit();
        self::assertSame(['order 4'], $result->lines());
        self::assertStringContainsString('[info] Consumer stats {"processed":1}', $result->stderr);
        preg_match('/\[error\] Message processing failed (\{.*\})/', $result->stderr, $line);
        $context = json_decode($line[1] ?? '', true);
        self::assertSame(['test', 'Division by zero'], [$context['channel'], $context['error']]);
        self::assertSame(['id', 'type', 'channel', 'event', 'data', 'timestamp'], array_keys($context['message']));
    }

    private function send(string $channel, string $event, mixed $data): void
    {
        $this->broker()->publish($channel, Message::event($channel, $event, $data));
        Realtime::flush();
    }
}
