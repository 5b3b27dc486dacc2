<?php

declare(strict_types=1);

namespace Toporia\Realtime\Testing;

use PHPUnit\Framework\Attributes\After;
use PHPUnit\Framework\Attributes\Before;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Support\ReturnValue;

/**
 * Runs each test against an embedded broker in the process: the real message path without a server. Requires the
 * extension. One broker serves the whole run; each test has its own topic prefix.
 *
 *     final class OrderHandlerTest extends TestCase
 *     {
 *         use UsesEmbeddedBroker;
 *
 *         public function testItMarksTheOrderPaid(): void
 *         {
 *             $this->publishAndConsume('user.1', 'order.paid', ['id' => 7], new OrderHandler($this->orders));
 *             self::assertTrue($this->orders->find(7)->isPaid());
 *         }
 *     }
 */
trait UsesEmbeddedBroker
{
    private static ?EmbeddedBroker $embeddedBroker = null;
    private string $realtimeName = '';
    private int $realtimeGroups = 0;
    /** @var array<string, array<int, int>> next offset to handle, by topic and partition */
    private array $realtimePositions = [];

    /**
     * Configures the test to use the embedded broker.
     *
     * @before
     */
    #[Before]
    public function startEmbeddedBroker(): void
    {
        self::$embeddedBroker ??= EmbeddedBroker::start();
        $this->realtimeName = 'test' . bin2hex(random_bytes(6));
        Realtime::restore();
        Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => $this->embeddedConfig()]]);
    }

    /**
     * Resets the configuration for the next test.
     *
     * @after
     */
    #[After]
    public function forgetEmbeddedBroker(): void
    {
        Realtime::restore();
        Realtime::configure([]);
    }

    /** The embedded broker, to inject faults: `$this->embeddedBroker()->down()`. */
    protected function embeddedBroker(): EmbeddedBroker
    {
        return self::$embeddedBroker ??= EmbeddedBroker::start();
    }

    /**
     * The configuration of brokers in this test.
     *
     * @param array<string, mixed> $config overrides
     *
     * @return array<string, mixed>
     */
    protected function embeddedConfig(array $config = []): array
    {
        return $config + [
            'brokers' => $this->embeddedBroker()->address(),
            'topic_prefix' => $this->realtimeName,
            'consumer_group' => $this->realtimeName,
            // The embedded broker waits for the session of a departed member to expire.
            'consumer_config' => ['session.timeout.ms' => 6000],
        ];
    }

    /**
     * Broadcasts one event, then passes all messages of its channel to the handler until none are left.
     *
     * @param object $handler an object with `handle(Message $message)`, or a callable
     * @param array<string, mixed> $config overrides of the broker's configuration: `['max_retries' => 0]`
     *
     * @return list<Message> the messages passed to the handler
     *
     * @throws Throwable thrown by the handler; the message is delivered again by the next call
     */
    protected function publishAndConsume(
        string $channel,
        string $event,
        mixed $data,
        object $handler,
        array $config = []
    ): array {
        Realtime::broadcast($channel, $event, $data);

        return $this->consumeAll($channel, $handler, $config);
    }

    /**
     * Passes all messages of a channel or a pattern to the handler.
     *
     * @param object $handler an object with `handle(Message $message)`, or a callable
     * @param array<string, mixed> $config overrides of the broker's configuration
     *
     * @return list<Message> the messages passed to the handler
     *
     * @throws Throwable thrown by the handler; the message is delivered again by the next call
     */
    protected function consumeAll(string $channel, object $handler, array $config = []): array
    {
        Realtime::flush();
        $call = is_callable($handler) ? $handler : [$handler, 'handle'];
        $given = [];
        $broker = new Broker($config + [
            // A new group each time, because the embedded broker makes a new member wait for the previous session to
            // expire.
            'consumer_group' => $this->realtimeName . '-' . ++$this->realtimeGroups,
            'dlq' => false,
            'max_retries' => 0,
        ]);
        $broker->onAssigned(function (array $partitions) use ($broker): void {
            foreach ($partitions as ['topic' => $topic, 'partition' => $partition]) {
                $next = $this->realtimePositions[$topic][$partition] ?? 0;
                $next > 0 && $broker->seek($topic, $partition, $next);
            }
        });
        $broker->subscribe($channel, function (Message $message) use ($call, &$given): void {
            $given[] = $message;
            ReturnValue::complete($call($message));
            $this->realtimePositions[$message->getTopic()][$message->getPartition()] = $message->getOffset() + 1;
        });
        try {
            $broker->consume(100, 100, 0, true);
        } finally {
            $broker->close();
        }

        return $given;
    }
}
