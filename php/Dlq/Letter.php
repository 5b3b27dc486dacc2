<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Worker\Text;

/**
 * A dead letter: the failed record, the location and reason of the failure, and the number of attempts. A record of a
 * dead-letter topic, interpreted by its headers. Records from other producers may lack some headers: those values are
 * null.
 */
final class Letter
{
    private const ENVELOPE_TYPES = ['event', 'subscribe', 'unsubscribe', 'error', 'ping', 'pong'];

    /** The topic of the first failure. */
    public readonly string $originalTopic;
    /** The partition of the first failure. */
    public readonly ?int $originalPartition;
    /** The offset of the first failure. */
    public readonly ?int $originalOffset;
    /** The timestamp of the original record, in Unix milliseconds. */
    public readonly ?int $originalTimestampMs;
    /** The consumer group that failed; null if unknown. */
    public readonly ?string $group;
    /** The class of the exception. */
    public readonly ?string $exceptionClass;
    /** The exception's message, up to 1 KB. */
    public readonly ?string $reason;
    /** Number of attempts; 0: the value could not be parsed. */
    public readonly ?int $attempts;
    /** Number of replays before this failure. */
    public readonly int $replays;
    /** Time of the failure, in Unix seconds. */
    public readonly int $failedAt;
    /**
     * @var array{id: string, channel: string|null, event: string|null}|false|null null: not parsed yet; false: not an
     *        envelope
     */
    private array|false|null $envelope = null;

    public function __construct(public readonly Record $record, TopicNames $names)
    {
        $this->originalTopic = $this->text(Headers::ORIGINAL_TOPIC) ?? $names->original($record->topic);
        $this->originalPartition = $this->number(Headers::ORIGINAL_PARTITION);
        $this->originalOffset = $this->number(Headers::ORIGINAL_OFFSET);
        $this->originalTimestampMs = $this->number(Headers::ORIGINAL_TIMESTAMP);
        $this->group = $this->text(Headers::ORIGINAL_GROUP);
        $this->exceptionClass = $this->text(Headers::EXCEPTION_CLASS);
        $this->reason = $this->text(Headers::EXCEPTION_MESSAGE);
        $this->attempts = $this->number(Headers::ATTEMPTS);
        $this->replays = $this->number(Headers::REPLAYS) ?? 0;
        $this->failedAt = $this->number(Headers::FAILED_AT) ?? $record->timestamp;
    }

    /** Its topic, partition and offset: `dlq.realtime_user_1/0/17`. */
    public function letterId(): LetterId
    {
        return LetterId::of($this->record);
    }

    /** The message id of the envelope, or `topic-partition-offset` of the original record. */
    public function messageId(): string
    {
        $envelope = $this->envelope();
        if ($envelope !== false) {
            return $envelope['id'];
        }
        $partition = $this->originalPartition;
        $offset = $this->originalOffset;

        return $partition === null || $offset === null
            ? "{$this->record->topic}-{$this->record->partition}-{$this->record->offset}"
            : "{$this->originalTopic}-$partition-$offset";
    }

    /** The channel of the message; null if the value is not an envelope. */
    public function channel(): ?string
    {
        return $this->envelope()['channel'] ?? null;
    }

    /** The event of the message; null if the value is not an envelope. */
    public function event(): ?string
    {
        return $this->envelope()['event'] ?? null;
    }

    /**
     * The exception and its previous ones, outermost first: `Class: message in file:line`. Empty if no exception was
     * thrown, or if the letter was too large for it.
     *
     * @return list<string>
     */
    public function exceptionChain(): array
    {
        $chain = $this->text(Headers::EXCEPTION_CHAIN);

        return $chain === null ? [] : explode('; caused by ', $chain);
    }

    /** The exception's class name without its namespace. */
    public function shortClass(): ?string
    {
        $class = $this->exceptionClass;

        return $class === null ? null : substr((string) strrchr('\\' . $class, '\\'), 1);
    }

    /**
     * Size of a value that was too large for the dead letter, which then only holds the coordinates; null if the letter
     * holds the record.
     */
    public function omittedBytes(): ?int
    {
        return $this->record->value === null ? $this->number(Headers::ORIGINAL_SIZE) : null;
    }

    /**
     * The fields printed by `--json`, without the payload.
     *
     * @return array<string, mixed>
     */
    public function toArray(?int $replayedAt): array
    {
        return [
            'letter' => (string) $this->letterId(),
            'id' => $this->messageId(),
            'topic' => $this->originalTopic,
            'partition' => $this->originalPartition,
            'offset' => $this->originalOffset,
            'group' => $this->group,
            'channel' => $this->channel(),
            'event' => $this->event(),
            'class' => $this->exceptionClass,
            'message' => $this->reason,
            'attempts' => $this->attempts,
            'replays' => $this->replays,
            'failed_at' => $this->failedAt,
            'replayed_at' => $replayedAt,
        ];
    }

    private function text(string $header): ?string
    {
        $value = $this->record->header($header);

        return $value === '' ? null : $value;
    }

    private function number(string $header): ?int
    {
        $value = $this->record->header($header);

        return preg_match('/\A\d{1,18}\z/', $value ?? '') === 1 ? (int) $value : null;
    }

    /** @return array{id: string, channel: string|null, event: string|null}|false */
    private function envelope(): array|false
    {
        return $this->envelope ??= self::parse($this->record->value);
    }

    /**
     * Deliberately strict: JSON from other producers may also have an `id`.
     *
     * @return array{id: string, channel: string|null, event: string|null}|false
     */
    private static function parse(?string $value): array|false
    {
        if ($value === null || !str_starts_with(ltrim($value), '{')) {
            return false;
        }
        $json = json_decode($value, true, Text::DEPTH);
        if (!is_array($json) || !is_string($json['id'] ?? null) || $json['id'] === '') {
            return false;
        }
        $channel = $json['channel'] ?? null;
        $event = $json['event'] ?? null;
        if (!in_array($json['type'] ?? 'event', self::ENVELOPE_TYPES, true) || !is_string($channel ?? $event)) {
            return false;
        }

        return [
            'id' => $json['id'],
            'channel' => is_string($channel) ? $channel : null,
            'event' => is_string($event) ? $event : null,
        ];
    }
}
