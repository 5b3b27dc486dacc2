<?php

declare(strict_types=1);

namespace Toporia\Realtime\Testing;

use AssertionError;
use PHPUnit\Framework\Assert;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Support\Arguments;
use Toporia\Realtime\Support\Channel;
use Toporia\Realtime\Support\Pattern;
use Toporia\Realtime\Support\ReturnValue;

/**
 * The consuming half of RealtimeFake: subscriptions and messages to receive. Follows the rules of a real broker: exact
 * subscriptions before patterns, either callbacks or poll(), and a callback that throws ends consume() and keeps its
 * message.
 */
trait ReceivesMessages
{
    /** @var array<string, array{callback: callable|null, batch: bool}> */
    private array $subscriptions = [];
    /** @var list<Message> */
    private array $waiting = [];
    /** @var array<string, Message> not yet acknowledged, by id */
    private array $polled = [];
    /** @var array<string, string> 'ack' or 'nack', by id */
    private array $acknowledged = [];
    private bool $stopping = false;
    /** @var list<list<Message>> messages of the running callbacks, innermost last */
    private array $running = [];

    /**
     * Adds a message for the next consume() or poll().
     *
     * @param array<string, scalar|list<scalar|null>|null> $headers
     */
    public function receive(
        string $channel,
        string $event,
        mixed $data = null,
        ?string $key = null,
        array $headers = []
    ): static {
        Channel::check($channel);
        $this->waiting[] = Message::event($channel, $event, $data)->withKey($key ?? $channel)->withHeaders($headers);

        return $this;
    }

    /** {@inheritDoc} */
    public function subscribe(string $channel, ?callable $callback = null): static
    {
        return $this->add($channel, $callback, false);
    }

    /** {@inheritDoc} */
    public function subscribeBatch(string $channel, callable $callback): static
    {
        return $this->add($channel, $callback, true);
    }

    /** Accepted, but receives nothing: receive() only takes channels. */
    public function subscribeTopic(string $topic, ?callable $callback = null): static
    {
        return $this->add($topic, $callback, false);
    }

    /** {@inheritDoc} */
    public function unsubscribe(string $channel): static
    {
        unset($this->subscriptions[$channel]);

        return $this;
    }

    /** Calls the callbacks for all received messages, then returns instead of waiting. */
    public function consume(
        int $timeoutMs = 1000,
        int $batchSize = 100,
        int $maxMessages = 0,
        bool $stopWhenEmpty = false
    ): int {
        Arguments::atLeast(0, $timeoutMs, 'Broker::consume(): $timeoutMs');
        Arguments::atLeast(1, $batchSize, 'Broker::consume(): $batchSize');
        Arguments::atLeast(0, $maxMessages, 'Broker::consume(): $maxMessages');
        $this->expectSubscriptions(true);
        if ($this->running !== []) {
            throw new ConfigurationException(
                'Broker::consume(): a callback is running, which consume() would call again. A second Broker can consume '
                . 'inside a callback, but shares this fake: use a RealtimeFake of its own for it.'
            );
        }
        $this->stopping = false;
        $handled = 0;
        while ($this->waiting !== [] && !$this->stopping && ($maxMessages === 0 || $handled < $maxMessages)) {
            $limit = $maxMessages === 0 ? $batchSize : min($batchSize, $maxMessages - $handled);
            $handled += $this->deliver($limit);
        }

        return $handled;
    }

    /** {@inheritDoc} */
    public function stopConsuming(): void
    {
        $this->stopping = true;
    }

    /** The next received message with a subscription; null, without waiting, if there is none. */
    public function poll(int $timeoutMs = 1000): ?Message
    {
        Arguments::atLeast(0, $timeoutMs, 'Broker::poll(): $timeoutMs');
        $this->expectSubscriptions(false);
        while (($message = array_shift($this->waiting)) !== null) {
            if ($this->subscriber($message) !== null) {
                return $this->polled[$message->getId()] = $message;
            }
        }

        return null;
    }

    /** {@inheritDoc} */
    public function ack(Message $message): void
    {
        $this->acknowledge($message, 'ack');
    }

    /** {@inheritDoc} */
    public function nack(Message $message, ?Throwable $why = null): void
    {
        $this->acknowledge($message, 'nack');
    }

    /** Fails unless the message was acknowledged with ack(). */
    public function assertAcked(Message $message): void
    {
        $this->assertAcknowledged($message, 'ack');
    }

    /** Fails unless the message was rejected with nack(). */
    public function assertNacked(Message $message): void
    {
        $this->assertAcknowledged($message, 'nack');
    }

    /**
     * True if the running callback received a message with the same channel, event and data; Realtime::broadcast() and
     * the Toporia adapter do not send it again.
     */
    public function repeats(string $channel, Message $message): bool
    {
        return $this->repeatedId($channel, $message) !== null;
    }

    /** The id of that message, which Realtime::broadcast() returns. */
    public function repeatedId(string $channel, Message $message): ?string
    {
        foreach ($this->running[count($this->running) - 1] ?? [] as $held) {
            if (
                $held->getChannel() === $channel
                && $held->getEvent() === $message->getEvent()
                && self::comparable($held->getData()) === self::comparable($message->getData())
            ) {
                return $held->getId();
            }
        }

        return null;
    }

    /** Normalizes values that are equal in JSON: object members in any order, and 1.0 equals 1. */
    private static function comparable(mixed $data): mixed
    {
        if (is_array($data)) {
            if (!array_is_list($data)) {
                ksort($data);
            }

            return array_map(self::comparable(...), $data);
        }

        return is_float($data) && $data === floor($data) && abs($data) < 2 ** 53 ? (int) $data : $data;
    }

    private function add(string $channel, ?callable $callback, bool $batch): static
    {
        Channel::checkPattern($channel);
        foreach ($this->subscriptions as $name => $other) {
            if ((string) $name !== $channel && ($other['callback'] === null) !== ($callback === null)) {
                throw new ConfigurationException(
                    "'$channel' cannot be subscribed " . ($callback === null ? 'without' : 'with')
                    . " a callback: '$name' was not. A broker either runs callbacks or is polled. Use a second Broker."
                );
            }
        }
        $this->subscriptions[$channel] = ['callback' => $callback, 'batch' => $batch];

        return $this;
    }

    private function subscriber(Message $message): ?string
    {
        return Pattern::pick(array_map('strval', array_keys($this->subscriptions)), (string) $message->getChannel());
    }

    /**
     * Delivers the next message, or for a batch subscription several consecutive ones, and removes them once their
     * callback has returned.
     */
    private function deliver(int $limit): int
    {
        $name = $this->subscriber($this->waiting[0]);
        if ($name === null) {
            array_shift($this->waiting);

            return 0;
        }
        ['callback' => $callback, 'batch' => $batch] = $this->subscriptions[$name];
        $list = [];
        foreach ($this->waiting as $message) {
            if (count($list) === ($batch ? $limit : 1) || $this->subscriber($message) !== $name) {
                break;
            }
            $list[] = $message;
        }
        $this->running[] = $list;
        try {
            ReturnValue::complete($callback($batch ? $list : $list[0]));
        } catch (BatchException $e) {
            array_splice($this->waiting, 0, $batch ? $e->getIndex() : 0);
            throw $e;
        } finally {
            array_pop($this->running);
        }
        array_splice($this->waiting, 0, count($list));

        return count($list);
    }

    private function expectSubscriptions(bool $callbacks): void
    {
        if ($this->subscriptions === []) {
            throw new ConfigurationException('Nothing is subscribed. Call subscribe() first.');
        }
        foreach ($this->subscriptions as $name => ['callback' => $callback]) {
            if (($callback !== null) !== $callbacks) {
                throw new ConfigurationException(
                    "'$name' was subscribed " . ($callbacks ? 'without' : 'with') . ' a callback: a broker is used '
                    . 'either with callbacks and consume(), or without and poll().'
                );
            }
        }
    }

    private function acknowledge(Message $message, string $result): void
    {
        if (!isset($this->polled[$message->getId()])) {
            throw new ConfigurationException(
                'Message ' . $message->getId() . ' was not returned by poll(), or is already acknowledged.'
            );
        }
        unset($this->polled[$message->getId()]);
        $this->acknowledged[$message->getId()] = $result;
    }

    private function assertAcknowledged(Message $message, string $result): void
    {
        $actual = $this->acknowledged[$message->getId()] ?? 'no acknowledgement';
        $id = $message->getId();
        self::assertThat($actual === $result, "Expected $result for message $id; actual: $actual.");
    }

    /**
     * Uses PHPUnit's assertions if loaded, so that they are counted.
     *
     * @throws AssertionError without PHPUnit, which throws its own exception
     */
    private static function assertThat(bool $passed, string $failure): void
    {
        if (class_exists(Assert::class)) {
            $passed ? Assert::assertTrue(true) : Assert::fail($failure);
        }
        if (!$passed) {
            throw new AssertionError($failure);
        }
    }
}
