<?php

/**
 * IDE stub of the native Message class, and its complete stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime;

use JsonSerializable;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;

/**
 * One message, to send or received. Immutable: the with…() methods return a copy.
 *
 *     $message = Message::event('user.1', 'order.created', ['id' => 7])->withKey('order-7');
 *     $message->toJson();
 *     // {"id":"019a…","type":"event","channel":"user.1","event":"order.created","data":{"id":7},"timestamp":1763700000}
 *
 * On the wire it is that JSON envelope, in that order, without the keys that are null.
 */
final class Message implements JsonSerializable
{
    private Support\Envelope $envelope;
    private ?string $key = null;
    /** @var array<string, string> */
    private array $headers = [];

    /**
     * Made by event(), fromJson(), fromArray() and by a broker.
     */
    private function __construct()
    {
    }

    /**
     * A new event, with a new id and the present time.
     *
     * @param string|null $channel null: the one publish() names
     * @param mixed $data anything json_encode() takes, encoded at once as it does with its default flags; null: none
     *
     * @throws InvalidChannelException a channel that is empty, unprintable or too long
     * @throws EncodingException invalid UTF-8, NAN, INF, recursion, a resource, more than 512 levels
     */
    public static function event(?string $channel, string $event, mixed $data = null): static
    {
        if ($channel !== null) {
            Support\Channel::check($channel);
        }

        return self::of(Support\Envelope::create($channel, $event, $data));
    }

    /**
     * Reads an envelope. The bytes are kept: published again unchanged, they are sent as they are.
     *
     * A missing id or timestamp is made, a missing type is `event`.
     *
     * @throws EncodingException no JSON object, or a key of the wrong type
     */
    public static function fromJson(string $json): static
    {
        return self::of(Support\Envelope::parse($json));
    }

    /**
     * The same from an array with the keys of the envelope, as toArray() returns it.
     *
     * @param array<string, mixed> $a
     *
     * @throws EncodingException a key of the wrong type, or data that is no JSON
     */
    public static function fromArray(array $a): static
    {
        return self::of(Support\Envelope::fromArray($a));
    }

    /**
     * A copy with that record key, which decides the partition; null: the channel is the key.
     */
    public function withKey(?string $key): static
    {
        $copy = clone $this;
        $copy->key = $key;

        return $copy;
    }

    /**
     * A copy with those record headers instead of the present ones.
     *
     * @param array<string, string> $headers
     */
    public function withHeaders(array $headers): static
    {
        $copy = clone $this;
        $copy->headers = $headers;

        return $copy;
    }

    /**
     * The id: a UUIDv7 where we made it; `topic-partition-offset` for a record of a raw topic.
     */
    public function getId(): string
    {
        return $this->envelope->id;
    }

    /**
     * event, subscribe, unsubscribe, error, ping or pong; `raw` for a record of a raw topic.
     */
    public function getType(): string
    {
        return $this->envelope->type;
    }

    /**
     * The channel; null for a record of a raw topic.
     */
    public function getChannel(): ?string
    {
        return $this->envelope->channel;
    }

    /**
     * The event's name; null for a record of a raw topic.
     */
    public function getEvent(): ?string
    {
        return $this->envelope->event;
    }

    /**
     * The data as json_decode(…, true) gives it, as every receiver sees it. Decoded on the first call, then kept.
     *
     * @throws EncodingException data that cannot be decoded: broken JSON, more than 512 levels
     */
    public function getData(): mixed
    {
        return $this->envelope->data();
    }

    /**
     * When it was made, in Unix seconds; for a record of a raw topic its Kafka timestamp.
     */
    public function getTimestamp(): int
    {
        return $this->envelope->timestamp;
    }

    /**
     * The envelope as JSON; for a message that was received, its original bytes.
     */
    public function toJson(): string
    {
        return $this->envelope->json();
    }

    /**
     * The envelope as an array, in its order and without the keys that are null.
     *
     * @return array{id: string, type: string, channel?: string, event?: string, data?: mixed, timestamp: int}
     *
     * @throws EncodingException data that cannot be decoded
     */
    public function toArray(): array
    {
        return $this->envelope->toArray();
    }

    /**
     * What json_encode($message) encodes: toArray().
     */
    public function jsonSerialize(): mixed
    {
        return $this->envelope->toArray();
    }

    /**
     * The record headers: name to value; null for a header without one. Of a name that comes several times, the last.
     *
     * @return array<string, string|null>
     */
    public function getHeaders(): array
    {
        return $this->headers;
    }

    /**
     * All values of a record header, in their order; Kafka lets a name come several times.
     *
     * @return list<string|null> empty: there is no such header
     */
    public function getHeaderValues(string $name): array
    {
        if (!array_key_exists($name, $this->headers)) {
            return [];
        }
        $value = $this->headers[$name];

        return is_array($value) ? array_values($value) : [$value];
    }

    /**
     * The record key: the one of withKey(), or the one it came with from Kafka.
     */
    public function getKey(): ?string
    {
        return $this->key;
    }

    /**
     * The Kafka topic it came from; null: not received.
     */
    public function getTopic(): ?string
    {
        return null;
    }

    /**
     * The partition it came from; null: not received.
     */
    public function getPartition(): ?int
    {
        return null;
    }

    /**
     * Its offset in the partition; null: not received.
     */
    public function getOffset(): ?int
    {
        return null;
    }

    /**
     * Which try this is, from 1.
     */
    public function getAttempt(): int
    {
        return 1;
    }

    /**
     * The bytes of the record's value; null: a tombstone, or not received.
     */
    public function getPayload(): ?string
    {
        return null;
    }

    private static function of(Support\Envelope $envelope): self
    {
        $message = new self();
        $message->envelope = $envelope;

        return $message;
    }
}
