<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;

/** A row of the outbox that is waiting to be sent. Converts numbers that some drivers return as text. */
final class Row
{
    /** @param int $attempts number of rejected attempts */
    private function __construct(
        public readonly int $id,
        public readonly string $messageId,
        public readonly int $shard,
        public readonly int $hash,
        public readonly int $attempts,
        private ?string $key,
        private ?string $headers,
        private string $payload
    ) {
    }

    /** @param array<string, mixed> $row of a SELECT */
    public static function of(array $row): self
    {
        return new self(
            (int) $row['id'],
            (string) $row['message_id'],
            (int) $row['shard'],
            (int) $row['key_hash'],
            (int) $row['attempts'],
            $row['record_key'] === null ? null : (string) $row['record_key'],
            $row['headers'] === null ? null : (string) $row['headers'],
            (string) $row['payload']
        );
    }

    /**
     * The message, with the bytes written by Outbox::add().
     *
     * @throws EncodingException the row was modified manually
     * @throws InvalidChannelException it has no channel
     */
    public function message(): Message
    {
        $message = Message::fromJson($this->payload);
        if ($message->getChannel() === null) {
            throw new InvalidChannelException("The message $this->messageId has no channel.");
        }

        return $message
            ->withKey($this->key === null ? null : Column::readString($this->key))
            ->withHeaders(Column::readHeaders($this->headers));
    }
}
