<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use JsonException;
use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Message;

/**
 * Publishes events whose data is JSON text: a single one, or one per line. An invalid line is reported with its number;
 * the other lines are still sent.
 */
final class EventPublisher
{
    public int $sent = 0;

    /**
     * @param array<string, scalar|list<scalar|null>|null> $headers
     * @param Closure(): void $flush waits until Kafka has acknowledged everything
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
     * @param string|null $json the data; null: no data
     *
     * @return string the message id
     *
     * @throws UsageError invalid JSON
     */
    public function send(?string $json): string
    {
        try {
            return $this->publish($json === null ? null : self::decode($json));
        } catch (JsonException | EncodingException $e) {
            throw new UsageError(
                'The data is not valid JSON (' . $e->getMessage() . '): ' . Text::shorten(Text::printable($json ?? ''), 200)
                . " — in a shell, quote it: '{\"id\":7}'",
                0,
                $e
            );
        }
    }

    /**
     * Sends one event for each non-blank line.
     *
     * @param resource $stream
     * @param callable(string): void $onSent receives the message id
     * @param callable(string): void $onInvalid receives an error text with the line number
     *
     * @return int number of invalid lines
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
            } catch (JsonException | EncodingException | MessageTooLargeException $e) {
                $invalid++;
                $why = $e instanceof JsonException ? 'invalid JSON (' . $e->getMessage() . ')' : $e->getMessage();
                $onInvalid("line $number was not sent: $why: " . Text::shorten(Text::printable($line), 100));
            }
        }

        return $invalid;
    }

    private function publish(mixed $data): string
    {
        $message = Message::event($this->channel, $this->event, $data);
        try {
            $id = $this->publisher->publish($this->channel, $message, $this->key, $this->headers);
        } catch (QueueFullException) {
            // A shell command can wait: flush, then try once more.
            ($this->flush)();
            $id = $this->publisher->publish($this->channel, $message, $this->key, $this->headers);
        }
        $this->sent++;

        return $id;
    }

    /**
     * Decodes objects as objects, so that {} is not sent as [].
     *
     * @throws JsonException
     */
    private static function decode(string $json): mixed
    {
        return json_decode($json, false, 512, JSON_THROW_ON_ERROR);
    }
}
