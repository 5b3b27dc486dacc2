<?php

/**
 * `brokers: embedded`: one broker in the process, created on first use, shared by all its users.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\EmbeddedBroker;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class SharedBrokerEmbeddedTest extends TestCase
{
    use RunsPhp;

    public function testOneProcessSendsToItself(): void
    {
        $result = $this->runPhp(<<<'PHP'
            Realtime::configure(['brokers' => 'embedded']);
            Realtime::broadcast('user.1', 'order.created', ['id' => 7]);
            (new Broker(['topic_strategy' => 'grouped', 'default_topic' => 'all', 'default_partitions' => 3]))
                ->publish('user.2', Message::event('user.2', 'grouped'));
            Realtime::flush();
            $broker = new Broker();
            $broker->subscribe('user.1', fn (Message $m) => print $m->getEvent() . ' ' . $m->getData()['id'] . "\n");
            $broker->consume(200, 10, 1);
            $raw = new Broker(['consumer_group' => 'raw']);
            $raw->subscribeTopic('all', fn (Message $m) => print $m->getTopic() . "\n");
            $raw->consume(200, 10, 1);
            PHP)->assertExit();
        self::assertSame(['order.created 7', 'all'], $result->lines());
        self::assertSame('', $result->stderr);
    }

    public function testAForkedChildUsesItsParentsBroker(): void
    {
        $result = $this->runPhp(<<<'PHP'
            Realtime::configure(['brokers' => 'embedded']);
            Realtime::broadcast('user.1', 'parent');
            Realtime::flush();
            if (($pid = pcntl_fork()) === 0) {
                Realtime::broadcast('user.1', 'child');
                exit;
            }
            pcntl_waitpid($pid, $status);
            $broker = Realtime::broker()->subscribe('user.1', fn (Message $m) => print $m->getEvent() . "\n");
            $broker->consume(200, 10, 2);
            echo $status;
            PHP)->assertExit();
        self::assertSame(['parent', 'child', '0'], $result->lines());
    }

    public function testTheBrokerItselfCanBeReached(): void
    {
        $result = $this->runPhp(<<<'PHP'
            Realtime::configure(['brokers' => 'embedded', 'produce' => 'sync']);
            $kafka = EmbeddedBroker::shared()->createTopic('raw')->failNext('Produce', 'REQUEST_TIMED_OUT', 2);
            Realtime::broker()->send('raw', 'x');
            (new Broker(['brokers' => $kafka->address()]))->send('raw', 'y');
            $reader = (new Broker())->subscribeTopic('raw', fn (Message $m) => print $m->getPayload() . "\n");
            $reader->consume(200, 10, 2);
            var_dump(EmbeddedBroker::shared()->address() === $kafka->address());
            if (($pid = pcntl_fork()) === 0) {
                try {
                    EmbeddedBroker::shared()->down();
                } catch (Toporia\Realtime\Exception\ConnectionException $e) {
                    echo $e->getMessage(), "\n";
                }
                exit;
            }
            pcntl_waitpid($pid, $status);
            PHP)->assertExit();
        self::assertSame('', $result->stderr);
        self::assertSame(['x', 'y', 'bool(true)'], array_slice($result->lines(), 0, 3));
        self::assertStringContainsString('belongs to the parent process', $result->lines()[3]);
    }
}
