<?php

declare(strict_types=1);

namespace Toporia\Realtime\Testing;

use Throwable;
use Toporia\Realtime\Contract\Consumer;
use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Dlq\Headers;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Support\Arguments;
use Toporia\Realtime\Support\Channel;
use Toporia\Realtime\Support\Uuid;

/**
 * Records broadcasts, and delivers messages to consumers in tests. Returned by Realtime::fake().
 *
 *     $fake = Realtime::fake();
 *     (new Checkout())->pay($order);
 *     $fake->assertBroadcast('user.1', 'order.paid', fn (Message $m) => $m->getData()['id'] === 7);
 *
 * For code that consumes, inject the fake as its Contract\Consumer:
 *
 *     $fake->receive('user.1', 'order.created', ['id' => 7]);
 *     (new OrderListener($fake))->run();      // its consume() runs the callback, then returns
 *
 * Channels in assertions may be patterns (`user.*`). Failure messages list what was broadcast. Works with and without
 * PHPUnit.
 */
final class RealtimeFake implements Publisher, Consumer
{
    use ReceivesMessages;

    /** @var list<Sent> */
    private array $sent = [];

    /** @param Publisher|null $inner also receives everything that is recorded; null: nothing is sent */
    public function __construct(private ?Publisher $inner = null)
    {
    }

    /** {@inheritDoc} */
    public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string
    {
        Channel::check($channel);
        $all = Headers::single(Arguments::headers($headers)) + Headers::of($message);
        $this->sent[] = new Sent($channel, null, $message, $key ?? $message->getKey(), $all);

        return $this->inner?->publish($channel, $message, $key, $headers) ?? $message->getId();
    }

    /** {@inheritDoc} */
    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array
    {
        Arguments::atLeast(0, $flushTimeoutMs, 'Broker::publishBatch(): $flushTimeoutMs');
        $start = hrtime(true);
        foreach (array_values($messages) as $i => $entry) {
            try {
                if ($entry instanceof Message) {
                    $this->publish($entry->getChannel() ?? '', $entry);
                    continue;
                }
                [$channel, $event, $data, $key, $headers] = self::entry($entry);
                $this->publish($channel, Message::event($channel, $event, $data), $key, $headers);
            } catch (Throwable $e) {
                throw new BatchException($i, $e);
            }
        }
        $ms = (hrtime(true) - $start) / 1e6;
        $count = count($messages);

        return [
            'queued' => $count,
            'failed' => 0,
            'total_time_ms' => $ms,
            'throughput' => $ms > 0 ? $count / $ms * 1000 : 0.0,
        ];
    }

    /** {@inheritDoc} */
    public function send(
        string $topic,
        mixed $value,
        ?string $key = null,
        array $headers = [],
        ?int $partition = null
    ): string {
        Channel::checkTopic($topic);
        Arguments::headers($headers);
        Arguments::atLeast(0, $partition ?? 0, 'Broker::send(): $partition');
        if (!is_string($value)) {
            // Throws, like the real broker, if the value cannot be encoded.
            Message::event(null, 'raw', $value);
        }
        $this->sent[] = new Sent(null, $topic, null, $key, $headers, $value);

        return $this->inner?->send($topic, $value, $key, $headers, $partition) ?? Uuid::v7();
    }

    /**
     * Fails unless a matching broadcast was made at least once.
     *
     * @param string $channel a channel or a pattern
     * @param string|null $event null: any
     * @param (callable(Message): bool)|null $where returns true for the expected message
     */
    public function assertBroadcast(string $channel, ?string $event = null, ?callable $where = null): void
    {
        self::assertThat(
            $this->count($channel, $event, $where) > 0,
            'Expected ' . self::describeExpected($channel, $event, $where) . ', but it was not '
                . 'broadcast. ' . $this->describeSent()
        );
    }

    /**
     * Fails unless exactly $times matching broadcasts were made.
     *
     * @param string $channel a channel or a pattern
     * @param string|null $event null: any
     * @param (callable(Message): bool)|null $where returns true for the expected messages
     */
    public function assertBroadcastTimes(
        string $channel,
        ?string $event = null,
        int $times = 1,
        ?callable $where = null
    ): void {
        $count = $this->count($channel, $event, $where);
        self::assertThat(
            $count === $times,
            'Expected ' . self::describeExpected($channel, $event, $where)
            . " $times time(s), but it was broadcast $count time(s). " . $this->describeSent()
        );
    }

    /**
     * Fails if a matching broadcast was made.
     *
     * @param string $channel a channel or a pattern
     * @param string|null $event null: any
     * @param (callable(Message): bool)|null $where returns true for the unwanted message
     */
    public function assertNotBroadcast(string $channel, ?string $event = null, ?callable $where = null): void
    {
        $count = $this->count($channel, $event, $where);
        self::assertThat(
            $count === 0,
            'Did not expect ' . self::describeExpected($channel, $event, $where) . ", but it was broadcast $count time(s). "
            . $this->describeSent()
        );
    }

    /**
     * Fails if anything was sent, including send() to raw topics; with arguments, if a matching broadcast was made.
     *
     * @param string|null $channel a channel or a pattern; null: any
     * @param string|null $event null: any
     * @param (callable(Message): bool)|null $where returns true for the unwanted messages
     */
    public function assertNothingBroadcast(
        ?string $channel = null,
        ?string $event = null,
        ?callable $where = null
    ): void {
        $all = $channel === null && $event === null && $where === null;
        self::assertThat(
            $all ? $this->sent === [] : $this->broadcasts($channel, $event, $where) === [],
            'Expected no broadcast' . ($all ? '' : ' as ' . self::describeExpected($channel ?? '**', $event, $where))
            . '. ' . $this->describeSent()
        );
    }

    /**
     * The messages broadcast so far, in order, for custom assertions.
     *
     * @param string|null $channel a channel or a pattern; null: any
     * @param (callable(Message): bool)|null $where
     *
     * @return list<Message>
     */
    public function broadcasts(?string $channel = null, ?string $event = null, ?callable $where = null): array
    {
        $messages = [];
        foreach ($this->sent as $sent) {
            if ($sent->message !== null && $sent->matches($channel, $event, $where)) {
                $messages[] = $sent->message;
            }
        }

        return $messages;
    }

    /**
     * Everything sent so far, including raw topics, with keys and headers.
     *
     * @return list<Sent>
     */
    public function sent(): array
    {
        return $this->sent;
    }

    /** @param (callable(Message): bool)|null $where */
    private function count(string $channel, ?string $event, ?callable $where): int
    {
        return count($this->broadcasts($channel, $event, $where));
    }

    /** @return array{string, string, mixed, string|null, array<mixed>} */
    private static function entry(mixed $entry): array
    {
        $names = ['channel', 'event', 'data', 'key', 'headers'];
        $row = [];
        foreach (is_array($entry) ? $entry : [] as $key => $value) {
            $row[is_int($key) ? $names[$key] ?? $key : $key] = $value;
        }
        $row += ['data' => null, 'key' => null, 'headers' => []];
        if (!isset($row['channel'], $row['event']) || array_diff(array_keys($row), $names) !== []) {
            throw new ConfigurationException(
                'An entry is a Message, or [channel, event, data, key, headers], or has these names as its keys.'
            );
        }

        return [$row['channel'], $row['event'], $row['data'], $row['key'], $row['headers'] ?? []];
    }

    private static function describeExpected(string $channel, ?string $event, ?callable $where): string
    {
        return ($event === null ? 'any event' : "'$event'") . " on '$channel'"
            . ($where === null ? '' : ' for which the closure returns true');
    }

    private function describeSent(): string
    {
        if ($this->sent === []) {
            return 'Nothing was broadcast.';
        }
        $first = array_slice($this->sent, 0, 20);
        $lines = array_map(static fn (Sent $sent): string => "\n  - " . $sent->describe(), $first);
        $more = count($this->sent) - count($lines);

        return 'Broadcasts:' . implode('', $lines) . ($more > 0 ? "\n  … and $more more" : '');
    }
}
