<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

use Toporia\Framework\Realtime\Contracts\BrokerInterface;
use Toporia\Framework\Realtime\Contracts\MessageInterface;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

/**
 * The native broker with the methods used by Toporia, its commands and its guides. Aliased to
 * `Toporia\Framework\Realtime\Brokers\KafkaBroker`; the framework's manager creates it from its configuration.
 *
 *     $broker = realtime()->broker('kafka');
 *     $broker->subscribe('user.1', fn ($message) => print $message->getEvent() . PHP_EOL);
 *     $broker->consume(1000, 100);
 */
class KafkaBroker implements BrokerInterface
{
    /** Interval at which a call from a looping command checks if it is done, in ms. */
    private const CHECK_INTERVAL_MS = 50;

    private ?Broker $native = null;
    private bool $connected = true;
    /** @var array<string, callable> */
    private array $subscriptions = [];

    /**
     * Does not connect.
     *
     * @param array<string, mixed> $config the framework's configuration of this broker
     * @param object|null $manager the framework's manager; unused
     *
     * @throws \Throwable an unknown or invalid setting: the framework's BrokerException; ConfigurationException in the
     *        older generation
     */
    public function __construct(private array $config = [], ?object $manager = null)
    {
        // Without the extension only using the broker fails, so that an application that never uses it works.
        if (extension_loaded('toporia_realtime')) {
            try {
                $this->native();
            } catch (ConfigurationException $e) {
                throw Framework::exception('Cannot create the kafka broker', $e);
            }
        }
    }

    /**
     * Publishes the message, byte for byte if the channel is its own. On another channel the envelope gets that channel,
     * because it decides who receives the message. Never waits for Kafka, unless `produce` is `sync`.
     *
     * Inside a callback of any broker, a message equal to the one being handled is not published again.
     *
     * @throws \Throwable the framework's BrokerException, with ours as the previous exception
     */
    public function publish(string $channel, MessageInterface|Message $message): void
    {
        $this->expectConnected();
        try {
            $native = self::nativeMessage($message);
            // Publishing it again would feed the consumer its own message forever.
            if (!$this->native()->repeats($channel, $native)) {
                $this->native()->publish($channel, $native);
            }
        } catch (RealtimeException $e) {
            throw Framework::exception("Failed to publish to the kafka broker on channel '$channel'", $e);
        }
    }

    /**
     * Publishes several messages and waits for their acknowledgements.
     *
     * @param array<int, array{channel: string, message: MessageInterface}> $messages
     * @param int $flushTimeoutMs maximum wait, in ms
     *
     * @return array<string, int|float> `queued`, `failed`, `queue_time_ms`, `flush_time_ms`, `total_time_ms`,
     *        `throughput` (messages per second)
     *
     * @throws \Throwable the framework's BrokerException: no message could be queued
     */
    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array
    {
        $this->expectConnected();
        $start = hrtime(true);
        $failures = Realtime::stats()['delivery_failures'];
        [$queued, $refused] = $this->queue($messages);
        $between = hrtime(true);
        $failures = Realtime::stats()['delivery_failures'] - $failures;
        $failed = $failures + $this->native()->publishBatch([], $flushTimeoutMs)['failed'];
        $end = hrtime(true);
        $total = ($end - $start) / 1e6;

        return [
            'queued' => $queued,
            'failed' => $refused + min($failed, $queued),
            'queue_time_ms' => round(($between - $start) / 1e6, 2),
            'flush_time_ms' => round(($end - $between) / 1e6, 2),
            'total_time_ms' => round($total, 2),
            'throughput' => $total > 0 ? (int) round($queued / ($total / 1000)) : 0,
        ];
    }

    /**
     * Registers a callback for a channel or a pattern.
     *
     * A callback that throws is retried, then its message becomes a dead letter; see docs/guarantees.md.
     *
     * @param callable(\Toporia\Framework\Realtime\Message): mixed $callback
     *
     * @throws \Throwable the framework's BrokerException: an invalid channel name
     */
    public function subscribe(string $channel, callable $callback): void
    {
        $this->expectConnected();
        try {
            $this->subscribeNative($channel, $callback);
        } catch (RealtimeException $e) {
            throw Framework::exception("The kafka broker cannot subscribe to '$channel'", $e);
        }
        $this->subscriptions[$channel] = $callback;
    }

    public function unsubscribe(string $channel): void
    {
        unset($this->subscriptions[$channel]);
        $this->native()->unsubscribe($channel);
    }

    public function getSubscriberCount(string $channel): int
    {
        return isset($this->subscriptions[$channel]) ? 1 : 0;
    }

    /**
     * Passes messages to the callbacks until stopConsuming() or a signal.
     *
     * Called in a loop by the framework's broker:consume, it returns after each round: after a full batch, when no more
     * messages are available, or after the timeout.
     *
     * @param int $timeoutMs poll timeout, in ms
     * @param int $batchSize maximum messages per batch
     *
     * @throws \Throwable the framework's BrokerException; with `dlq` off, the exception of a callback
     */
    public function consume(int $timeoutMs = 1000, int $batchSize = 100): void
    {
        $this->expectConnected();
        $looping = Framework::isCalledInLoop(debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, 2));
        try {
            $looping ? $this->consumeOnce($timeoutMs, $batchSize) : $this->native()->consume($timeoutMs, $batchSize);
        } catch (RealtimeException $e) {
            throw Framework::exception('The kafka broker cannot consume', $e);
        }
    }

    /** Makes consume() return after the current message. */
    public function stopConsuming(): void
    {
        $this->native?->stopConsuming();
    }

    /** Switches to another consumer group, keeping the subscriptions. */
    public function setConsumerGroup(string $consumerGroup): void
    {
        $this->native?->close();
        $this->native = null;
        $this->config['consumer_group'] = $consumerGroup;
        foreach ($this->subscriptions as $channel => $callback) {
            $this->subscribeNative((string) $channel, $callback);
        }
    }

    public function getConsumerGroup(): string
    {
        return (string) $this->native()->stats()['group'];
    }

    /** True until disconnect() is called. Does not check whether Kafka is reachable. */
    public function isConnected(): bool
    {
        return $this->connected;
    }

    /** Delivers queued messages, for up to 5 seconds, and leaves the group. */
    public function disconnect(): void
    {
        if (!$this->connected) {
            return;
        }
        $this->connected = false;
        $this->subscriptions = [];
        try {
            $this->native?->publishBatch([], 5000);
        } finally {
            $this->native?->close();
            $this->native = null;
        }
    }

    public function getName(): string
    {
        return 'kafka';
    }

    /** The underlying native broker, for features that the framework's contract lacks. */
    public function native(): Broker
    {
        return $this->native ??= new Broker($this->settings());
    }

    /**
     * The configuration of the native broker.
     *
     * @return array<string, mixed>
     */
    protected function settings(): array
    {
        return Configuration::broker($this->config);
    }

    /** One round of a loop run by the framework's command. */
    protected function consumeOnce(int $timeoutMs, int $batchSize): void
    {
        $native = $this->native();
        $end = hrtime(true) + $timeoutMs * 1_000_000;
        $before = $last = $native->stats()['handled'];
        $native->onTick(static function (Broker $broker) use ($end, $before, &$last): void {
            $handled = $broker->stats()['handled'];
            if (hrtime(true) >= $end || $handled > $before && $handled === $last) {
                $broker->stopConsuming();
            }
            $last = $handled;
        }, self::CHECK_INTERVAL_MS);
        $native->consume(min($timeoutMs, self::CHECK_INTERVAL_MS), $batchSize, $batchSize);
    }

    private function subscribeNative(string $channel, callable $callback): void
    {
        $this->native()->subscribe(
            $channel,
            static fn (Message $message): mixed => $callback(Framework::message($message))
        );
    }

    /**
     * @param array<int, array{channel: string, message: MessageInterface}> $messages
     *
     * @return array{0: int, 1: int} number of queued and of rejected messages
     */
    private function queue(array $messages): array
    {
        $queued = $refused = 0;
        foreach ($messages as ['channel' => $channel, 'message' => $message]) {
            try {
                $this->native()->publish($channel, self::nativeMessage($message));
                $queued++;
            } catch (RealtimeException $e) {
                $refused++;
                if ($refused === count($messages)) {
                    throw Framework::exception('Failed to publish a batch to the kafka broker', $e);
                }
                error_log("Message {$message->getId()} of a batch was not sent on "
                    . "channel '$channel': {$e->getMessage()}");
            }
        }

        return [$queued, $refused];
    }

    private static function nativeMessage(MessageInterface|Message $message): Message
    {
        return match (true) {
            $message instanceof Message => $message,
            method_exists($message, 'native') => $message->native(),
            default => Message::fromJson($message->toJson()),
        };
    }

    protected function expectConnected(): void
    {
        if (!$this->connected) {
            throw Framework::exception('The kafka broker', new ConnectionException(
                'It is disconnected. Request a new broker from the manager.'
            ));
        }
    }
}
