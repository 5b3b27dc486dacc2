<?php

/**
 * The embedded broker: its address, its topics, several instances, other processes, and its shutdown.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\EmbeddedBroker;

use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Tests\Support\BrokerTestCase;

final class LifecycleEmbeddedTest extends BrokerTestCase
{
    public function testItsAddressIsOnTheLoopbackInterface(): void
    {
        $kafka = EmbeddedBroker::start();
        self::assertMatchesRegularExpression('/^127\.0\.0\.1:[1-9]\d+$/', $kafka->address());
        $kafka->stop();
    }

    public function testTwoInstancesAreSeparate(): void
    {
        $other = EmbeddedBroker::start();
        self::assertNotSame(self::address(), $other->address());
        $here = $this->broker();
        $here->send($this->topic(), 'here');
        $there = $this->broker(['brokers' => $other->address()]);
        $there->send($this->topic(), 'there');
        $here->close();
        $there->close();
        self::assertSame(
            ['here'],
            array_map(static fn ($message) => $message->getPayload(), $this->consumeAll($this->topic(), 1))
        );
        $other->stop();
    }

    public function testATopicHasThePartitionsItWasCreatedWith(): void
    {
        $topic = $this->createTopic($this->topic(), 3);
        $broker = $this->broker();
        foreach ([0, 1, 2] as $partition) {
            $broker->send($topic, "to $partition", null, [], $partition);
        }
        $broker->close();
        $partitions = [];
        foreach ($this->consumeAll($topic, 3) as $message) {
            $partitions[$message->getPartition()] = $message->getPayload();
        }
        ksort($partitions);
        self::assertSame(['to 0', 'to 1', 'to 2'], $partitions);
    }

    public function testAnotherProcessReachesIt(): void
    {
        $this->runPhp('Realtime::broadcast("user.1", "order.created", ["id" => 7]);')->assertExit();
        $messages = $this->consumeAll($this->channelTopic('user.1'), 1);
        self::assertCount(1, $messages);
        self::assertStringContainsString('"order.created"', (string) $messages[0]->getPayload());
    }

    public function testAPortThatIsTakenIsRefused(): void
    {
        $port = (int) explode(':', self::address())[1];
        $this->expectException(ConnectionException::class);
        $this->expectExceptionMessage((string) $port);
        EmbeddedBroker::start($port);
    }

    public function testStoppingTwiceIsHarmless(): void
    {
        $kafka = EmbeddedBroker::start();
        $kafka->stop();
        $kafka->stop();
        [$host, $port] = explode(':', $kafka->address());
        self::assertFalse(@fsockopen($host, (int) $port, $code, $error, 1.0));
    }

    public function testAProcessEndsWithOneRunning(): void
    {
        $result = $this->runPhp('$kafka = EmbeddedBroker::start(); echo $kafka->address();')->assertExit();
        self::assertSame('', $result->stderr);
        self::assertLessThan(5.0, $result->seconds);
    }
}
