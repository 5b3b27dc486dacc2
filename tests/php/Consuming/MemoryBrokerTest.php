<?php

/**
 * Memory: a long-running consumer does not grow, and closures that hold their own broker are collected.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;
use WeakReference;

final class MemoryBrokerTest extends ConsumingTestCase
{
    public function testTwoHundredThousandMessagesLeakNoMemory(): void
    {
        $this->runPhp(str_replace('TOPIC', $this->topic(), <<<'PHP'
            for ($i = 0; $i < 200_000; $i++) {
                Realtime::broker()->send('TOPIC', '{"number":' . $i . '}', null, [], $i % 4);
            }
            Realtime::flush(30_000);
            PHP), ['timeout' => 40.0])->assertExit();
        $used = $this->runPhp(str_replace('TOPIC', $this->topic(), <<<'PHP'
            $resident = fn () => (int) explode(' ', file_get_contents('/proc/self/statm'))[1] * 4;
            // What is fetched ahead is bounded, so that it does not hide what is left behind.
            $config = ['queued.max.messages.kbytes' => 1024, 'queued.min.messages' => 5000];
            $broker = new Broker(['consumer_config' => $config]);
            $count = 0;
            $used = [];
            $broker->subscribeTopic('TOPIC', function (Message $message) use (&$count, &$used, $resident) {
                $message->getData();
                if (++$count % 40_000 === 0) {
                    $used[] = $resident();
                }
            });
            $handled = $broker->consume(maxMessages: 200_000);
            echo json_encode(['handled' => $handled, 'used' => $used, 'php' => memory_get_peak_usage()]);
            PHP), ['timeout' => 40.0])->json();
        self::assertSame(200_000, $used['handled']);
        self::assertLessThan(6 * 1024, $used['used'][4] - $used['used'][0], 'KB more at 100 % than at 20 %: '
            . implode(' ', $used['used']));
        self::assertLessThan(4 << 20, $used['php']);
    }

    public function testClosuresOverTheirOwnBrokerAreCollected(): void
    {
        $holder = new class ($this->config()) {
            public Broker $broker;

            /** @param array<string, mixed> $config */
            public function __construct(array $config)
            {
                $this->broker = new Broker($config);
                $this->broker
                    ->subscribe('user.1', fn (Message $message) => $this->broker->publish('user.2', $message))
                    ->subscribeBatch('user.3', fn (array $messages) => $this->broker->stats())
                    ->subscribeTopic('topic', fn () => $this->broker->stopConsuming())
                    ->onAssigned(fn () => $this->broker->pause())
                    ->onRevoked(fn () => $this->broker->pause())
                    ->onTick(fn () => $this->broker->stopConsuming());
            }
        };
        $class = $holder::class;
        $config = $this->config();
        $broker = WeakReference::create($holder->broker);
        unset($holder);
        gc_collect_cycles();
        self::assertNull($broker->get(), 'all six are seen by the collector');

        for ($i = 0; $i < 200; $i++) {
            new $class($config);
        }
        gc_collect_cycles();
        $before = memory_get_usage();
        for ($i = 0; $i < 2000; $i++) {
            new $class($config);
        }
        gc_collect_cycles();
        self::assertLessThan(1_000_000, memory_get_usage() - $before, 'bytes for 2000 brokers');
    }

    public function testABrokerCapturedByItsOwnClosureIsCollected(): void
    {
        $broker = $this->detached();
        $broker->subscribe('user.1', static fn () => $broker->stopConsuming());
        $reference = WeakReference::create($broker);
        unset($broker);
        self::assertNotNull($reference->get(), 'a cycle');
        gc_collect_cycles();
        self::assertNull($reference->get());
    }

    public function testABrokerThatHasConsumedIsCollectedAndLeavesItsGroup(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $broker = $this->detached();
        $broker->subscribe('user.1', static function (Message $message) use ($broker): void {
            if ($message->getData() === 2) {
                $broker->stopConsuming();
            }
        });
        self::assertSame(2, $broker->consume());
        $reference = WeakReference::create($broker);
        unset($broker);
        gc_collect_cycles();
        self::assertNull($reference->get());
        self::assertSame([3], $this->rest('user.1'), 'the group is free at once');
    }

    public function testReplacedCallbacksAreFreed(): void
    {
        $broker = $this->broker();
        $object = new \stdClass();
        $reference = WeakReference::create($object);
        $broker->subscribe('user.1', static fn () => $object->x ?? null);
        $broker->onTick(static fn () => $object->x ?? null);
        unset($object);
        self::assertNotNull($reference->get());
        $broker->subscribe('user.1', static fn () => null);
        $broker->onTick(static fn () => null);
        self::assertNull($reference->get());
    }

    public function testMessagesMayOutliveTheirBroker(): void
    {
        $this->publish('user.1', ['kept']);
        $kept = null;
        $broker = $this->detached();
        $broker->subscribe('user.1', static function (Message $message) use (&$kept): void {
            $kept = $message;
        });
        $this->drain($broker);
        $broker->close();
        unset($broker);
        gc_collect_cycles();
        self::assertInstanceOf(Message::class, $kept);
        self::assertSame('kept', $kept->getData());
        self::assertSame($this->channelTopic('user.1'), $kept->getTopic());
        self::assertNotNull($kept->getPayload());
    }

    /** A broker without other references. */
    private function detached(): Broker
    {
        return new Broker($this->config());
    }
}
