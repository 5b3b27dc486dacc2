<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

/** Identifies a letter by topic, partition and offset. Written as `dlq.orders/0/17`; also parsed from `orders/0/17`. */
final class LetterId
{
    public function __construct(
        public readonly string $topic,
        public readonly int $partition,
        public readonly int $offset
    ) {
    }

    /** Parses an id; null if the text is not one, such as a message id. */
    public static function parse(string $text, TopicNames $names): ?self
    {
        if (preg_match('~\A([A-Za-z0-9._-]{1,249})/(\d{1,9})/(\d{1,18})\z~', $text, $match) !== 1) {
            return null;
        }

        return new self($names->deadLetters($match[1]), (int) $match[2], (int) $match[3]);
    }

    /** The id of a record in a dead-letter topic. */
    public static function of(Record $record): self
    {
        return new self($record->topic, $record->partition, $record->offset);
    }

    public function __toString(): string
    {
        return "$this->topic/$this->partition/$this->offset";
    }
}
