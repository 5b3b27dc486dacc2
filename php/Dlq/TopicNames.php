<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

/**
 * The naming rules of dead-letter topics. Dead letters of `orders` are in `dlq.orders`; `dlq-replayed` holds the
 * markers of replayed letters.
 */
final class TopicNames
{
    public function __construct(private string $prefix = 'dlq')
    {
    }

    /** The pattern of all dead-letter topics: `dlq.**`. */
    public function pattern(): string
    {
        return "$this->prefix.**";
    }

    /** True if the name is that of a dead-letter topic. */
    public function isDeadLetters(string $topic): bool
    {
        return str_starts_with($topic, "$this->prefix.");
    }

    /** The dead-letter topic of a topic; a dead-letter topic is returned unchanged. */
    public function deadLetters(string $topic): string
    {
        return $this->isDeadLetters($topic) ? $topic : "$this->prefix.$topic";
    }

    /** The original topic of a dead-letter topic. */
    public function original(string $deadLetters): string
    {
        return $this->isDeadLetters($deadLetters) ? substr($deadLetters, strlen($this->prefix) + 1) : $deadLetters;
    }

    /** The topic that holds the markers of replayed letters. */
    public function replayed(): string
    {
        return "$this->prefix-replayed";
    }
}
