<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Support\Pattern;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/**
 * Selects letters by the options of a command. A letter is selected if it matches all conditions; if ids are given, it
 * must be one of them.
 */
final class Selection
{
    /** @var array<string, true> */
    private array $messages = [];
    /** @var array<string, array<int, array<int, true>>> topic, partition, offset */
    private array $letterIds = [];
    /** @var array<string, string> requested ids that no letter had so far, as given, by normalized id */
    private array $missing = [];

    /**
     * @param string|null $topic an original topic, a dead-letter topic, a channel, or a pattern of one of them
     * @param string|null $class the exception's class, with or without its namespace
     * @param int|null $since failed at or after this time, in Unix seconds
     * @param int|null $before failed before this time, in Unix seconds
     * @param string|null $group the consumer group that failed
     * @param list<string> $ids letter ids and message ids
     */
    public function __construct(
        private TopicNames $names,
        private ?string $topic = null,
        private ?string $class = null,
        private ?int $since = null,
        private ?int $before = null,
        private ?string $group = null,
        array $ids = []
    ) {
        foreach ($ids as $id) {
            $letterId = LetterId::parse($id, $names);
            $this->missing[(string) ($letterId ?? $id)] = $id;
            if ($letterId === null) {
                $this->messages[$id] = true;
            } else {
                $this->letterIds[$letterId->topic][$letterId->partition][$letterId->offset] = true;
            }
        }
    }

    /**
     * Creates a selection from a command's options; absent options count as not given.
     *
     * @param array<string, mixed> $options
     * @param array<int, mixed> $ids
     *
     * @throws UsageError an invalid value
     */
    public static function of(TopicNames $names, array $options, array $ids, int $now): self
    {
        $given = [];
        foreach ($ids as $id) {
            $given[] = (string) OptionValue::text('A letter', $id);
        }
        $class = OptionValue::text('--class', $options['class'] ?? null);

        return new self(
            $names,
            OptionValue::text('--topic', $options['topic'] ?? null),
            $class === null ? null : ltrim($class, '\\'),
            OptionValue::time('--since', $options['since'] ?? null, $now),
            OptionValue::time('--before', $options['before'] ?? null, $now),
            OptionValue::text('--group', $options['group'] ?? null),
            $given
        );
    }

    /** True if no condition is set. */
    public function isEverything(): bool
    {
        return $this->messages === [] && $this->letterIds === [] && $this->topic === null && $this->class === null
            && $this->since === null && $this->before === null && $this->group === null;
    }

    /**
     * The dead-letter topics that must be read.
     *
     * @param list<string> $topics all dead-letter topics: a topic that is named in full, or by a letter id, may be any
     * @param array<int, string> $searched the topics for everything else: patterns, channels, message ids, no --topic
     *
     * @return list<string>
     */
    public function topics(array $topics, array $searched): array
    {
        $named = $this->named($topics);
        if ($this->letterIds !== [] && $this->messages === []) {
            return array_values($named);
        }
        // An exact topic name is sufficient; anything else may be a channel, which only the letters contain.
        $exact = array_values(array_filter($topics, fn (string $topic): bool => $this->coversTopic($topic, exactly: true)));

        return $exact === [] ? array_values(array_unique([...$searched, ...$named])) : $exact;
    }

    /** True for a topic that is named in full, or by the id of one of its letters: it may be another application's. */
    public function isNamed(string $deadLetters): bool
    {
        return $this->named([$deadLetters]) !== [] || $this->coversTopic($deadLetters, exactly: true);
    }

    /**
     * The start offsets, if only letter ids are given: earlier records need not be read.
     *
     * @param array<int, array{beginning: int, end: int}> $offsets of the topic
     *
     * @return array<int, int> by partition; empty: from the beginning
     */
    public function from(string $topic, array $offsets): array
    {
        if ($this->letterIds === [] || $this->messages !== []) {
            return [];
        }
        $from = [];
        foreach ($offsets as $partition => ['beginning' => $beginning, 'end' => $end]) {
            $wanted = array_keys($this->letterIds[$topic][$partition] ?? []);
            $from[$partition] = $wanted === [] ? $end : min($end, max($beginning, min($wanted)));
        }

        return $from;
    }

    /** True if a letter is chosen. */
    public function matches(Letter $letter): bool
    {
        // Check this first, so that missing() does not list a letter that exists but fails another condition.
        if (!$this->isListed($letter)) {
            return false;
        }
        $failedAt = $letter->failedAt;

        return ($this->since === null || $failedAt >= $this->since)
            && ($this->before === null || $failedAt < $this->before)
            && ($this->group === null || $this->group === $letter->group)
            && $this->isOfClass($letter)
            && $this->isInTopic($letter);
    }

    /**
     * The requested ids that none of the letters passed to matches() had.
     *
     * @return list<string> as they were given
     */
    public function missing(): array
    {
        return array_values($this->missing);
    }

    private function isOfClass(Letter $letter): bool
    {
        // PHP class names are case-insensitive.
        return $this->class === null
            || strcasecmp($this->class, $letter->exceptionClass ?? '') === 0
            || strcasecmp($this->class, $letter->shortClass() ?? '') === 0;
    }

    private function isInTopic(Letter $letter): bool
    {
        return $this->topic === null
            || $this->coversTopic($letter->record->topic)
            || Pattern::matches($this->topic, $letter->originalTopic)
            || Pattern::matches($this->topic, $letter->channel() ?? '');
    }

    private function coversTopic(string $deadLetters, bool $exactly = false): bool
    {
        if ($this->topic === null || $exactly && Pattern::isPattern($this->topic)) {
            return false;
        }

        return Pattern::matches($this->topic, $deadLetters)
            || Pattern::matches($this->topic, $this->names->original($deadLetters));
    }

    /**
     * @param list<string> $topics dead-letter topics
     *
     * @return array<int, string> those in the requested ids
     */
    private function named(array $topics): array
    {
        return array_intersect($topics, [
            ...array_map('strval', array_keys($this->letterIds)),
            ...array_map($this->topicOfRawMessage(...), array_keys($this->messages)),
        ]);
    }

    /** The dead-letter topic in the message id of a raw topic (`topic-partition-offset`); empty for other ids. */
    private function topicOfRawMessage(int|string $id): string
    {
        return preg_match('/\A(.+)-\d+-\d+\z/s', (string) $id, $match) === 1 ? $this->names->deadLetters($match[1]) : '';
    }

    private function isListed(Letter $letter): bool
    {
        if ($this->messages === [] && $this->letterIds === []) {
            return true;
        }
        $record = $letter->record;
        $byPosition = isset($this->letterIds[$record->topic][$record->partition][$record->offset]);
        $byId = isset($this->messages[$letter->messageId()]);
        if ($byPosition) {
            unset($this->missing[(string) $letter->letterId()]);
        }
        if ($byId) {
            unset($this->missing[$letter->messageId()]);
        }

        return $byPosition || $byId;
    }
}
