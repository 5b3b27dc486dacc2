<?php

/**
 * Sends events whose data comes as JSON text: one, or one a line.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use JsonException;
use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Message;

/**
 * A bad line costs itself only: it is reported with its number, the others are sent.
 */
final class EventPublisher
{
    private int $sent = 0;

    /**
     * @param array<string, string> $headers
     * @param Closure(): void $flush waits until Kafka has what was sent
     */
    public function __construct(
        private Publisher $publisher,
        private string $channel,
        private string $event,
        private ?string $key,
        private array $headers,
        private Closure $flush
    ) {
    }

    /**
     * Sends one event.
     *
     * @param string|null $json its data; null: none
     *
     * @return string its id
     *
     * @throws UsageError no JSON
     */
    public function send(?string $json): string
    {
        try {
            return $this->publish($json === null ? null : self::decode($json));
        } catch (JsonException $e) {
            throw new UsageError(
                'The data is no JSON (' . $e->getMessage() . '): ' . Text::shorten(Text::printable($json ?? ''), 200)
                . " — in a shell, quote it: '{\"id\":7}'",
                0,
                $e
            );
        }
    }

    /**
     * Sends one event for each line that is not blank.
     *
     * @param resource $stream
     * @param callable(string): void $onSent gets the id
     * @param callable(string): void $onInvalid gets what is wrong with which line
     *
     * @return int how many lines were bad
     */
    public function sendLines(mixed $stream, callable $onSent, callable $onInvalid): int
    {
        $invalid = 0;
        for ($number = 1; ($line = fgets($stream)) !== false; $number++) {
            $line = trim($line);
            if ($line === '') {
                continue;
            }
            try {
                $onSent($this->publish(self::decode($line)));
            } catch (JsonException | MessageTooLargeException $e) {
                $invalid++;
                $why = $e instanceof JsonException ? 'no JSON (' . $e->getMessage() . ')' : $e->getMessage();
                $onInvalid("line $number was not sent: $why: " . Text::shorten(Text::printable($line), 100));
            }
        }

        return $invalid;
    }

    /**
     * How many events were sent.
     */
    public function sent(): int
    {
        return $this->sent;
    }

    private function publish(mixed $data): string
    {
        $message = Message::event($this->channel, $this->event, $data);
        try {
            $id = $this->publisher->publish($this->channel, $message, $this->key, $this->headers);
        } catch (QueueFullException) {
            // A shell can wait: let Kafka take what is queued, then try again.
            ($this->flush)();
            $id = $this->publisher->publish($this->channel, $message, $this->key, $this->headers);
        }
        $this->sent++;

        return $id;
    }

    /**
     * Objects stay objects, so that {} is not sent as [].
     *
     * @throws JsonException
     */
    private static function decode(string $json): mixed
    {
        return json_decode($json, false, 512, JSON_THROW_ON_ERROR);
    }
}
