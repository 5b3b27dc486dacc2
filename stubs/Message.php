<?php

declare(strict_types=1);

namespace Toporia\Realtime;

use JsonSerializable;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;

/**
 * A message to send or received. Immutable: the with…() methods return a copy.
 *
 *     $message = Message::event('user.1', 'order.created', ['id' => 7])->withKey('order-7');
 *     $message->toJson();
 *     // {"id":"019a…","type":"event","channel":"user.1","event":"order.created","data":{"id":7},"timestamp":1763700000}
 *
 * The JSON envelope, with its keys in this order and without keys that are null.
 */
final class Message implements JsonSerializable
{
    use Support\NativeObject;

    private Support\Envelope $envelope;
    private ?string $key = null;
    /** @var array<string, list<string|null>> */
    private array $headers = [];

    /**
     * Use event(), fromJson() or fromArray().
     */
    private function __construct()
    {
    }

    /**
     * Creates an event with a new id and the current time.
     *
     * @param string|null $channel null: the channel passed to publish()
     * @param mixed $data any value json_encode() supports, encoded immediately with its default flags; null: no data
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
     * Parses an envelope. The bytes are kept: an unchanged message is sent again byte for byte, on its channel.
     *
     * A missing id or timestamp is generated, a missing type is `event`.
     *
     * @throws EncodingException not a JSON object, or a key of the wrong type
     */
    public static function fromJson(string $json): static
    {
        return self::of(Support\Envelope::parse($json));
    }

    /**
     * Creates a message from an array with the keys of the envelope, as returned by toArray().
     *
     * @param array<string, mixed> $a
     *
     * @throws EncodingException a key of the wrong type, or data that cannot be encoded as JSON
     */
    public static function fromArray(array $a): static
    {
        return self::of(Support\Envelope::fromArray($a));
    }

    /**
     * Returns a copy with this record key, which selects the partition; null: the channel is the key.
     */
    public function withKey(?string $key): static
    {
        $copy = clone $this;
        $copy->key = $key;

        return $copy;
    }

    /**
     * Returns a copy with these record headers instead of the current ones.
     *
     * @param array<string, scalar|list<scalar|null>|null> $headers
     */
    public function withHeaders(array $headers): static
    {
        $copy = clone $this;
        $copy->headers = Support\Arguments::headers($headers);

        return $copy;
    }

    /**
     * Returns the id: a UUIDv7 for messages of this package; `topic-partition-offset` for a record of a raw topic and
     * for a received envelope without an id.
     */
    public function getId(): string
    {
        return $this->envelope->id;
    }

    /**
     * Returns event, subscribe, unsubscribe, error, ping or pong; `raw` for a record of a raw topic.
     */
    public function getType(): string
    {
        return $this->envelope->type;
    }

    /**
     * Returns the channel; null for a record of a raw topic.
     */
    public function getChannel(): ?string
    {
        return $this->envelope->channel;
    }

    /**
     * Returns the name of the event; null for a record of a raw topic.
     */
    public function getEvent(): ?string
    {
        return $this->envelope->event;
    }

    /**
     * Returns the data as decoded by json_decode(…, true). Decoded on the first call and cached.
     *
     * @throws EncodingException data that cannot be decoded: broken JSON, more than 512 levels
     */
    public function getData(): mixed
    {
        return $this->envelope->data();
    }

    /**
     * Returns the creation time in Unix seconds; for a record of a raw topic its Kafka timestamp.
     */
    public function getTimestamp(): int
    {
        return $this->envelope->timestamp;
    }

    /**
     * Returns the envelope as JSON; for a received message its original bytes.
     */
    public function toJson(): string
    {
        return $this->envelope->json();
    }

    /**
     * Returns the envelope as an array, with its keys in order and without keys that are null.
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
     * Returns toArray() for json_encode($message).
     */
    public function jsonSerialize(): mixed
    {
        return $this->envelope->toArray();
    }

    /**
     * Returns the record headers: name => value; null for a header without a value. For a repeated name, the last
     * value.
     *
     * @return array<string, string|null>
     */
    public function getHeaders(): array
    {
        return array_map(static fn (array $values): ?string => end($values), $this->headers);
    }

    /**
     * Returns all values of a record header in order; Kafka allows repeated names.
     *
     * @return list<string|null> empty: there is no such header
     */
    public function getHeaderValues(string $name): array
    {
        return $this->headers[$name] ?? [];
    }

    /**
     * Returns the record key set by withKey() or received from Kafka.
     */
    public function getKey(): ?string
    {
        return $this->key;
    }

    /**
     * Returns the Kafka topic; null: not received.
     */
    public function getTopic(): ?string
    {
        return null;
    }

    /**
     * Returns the partition; null: not received.
     */
    public function getPartition(): ?int
    {
        return null;
    }

    /**
     * Returns the offset in the partition; null: not received.
     */
    public function getOffset(): ?int
    {
        return null;
    }

    /**
     * Returns the number of the attempt, starting with 1.
     */
    public function getAttempt(): int
    {
        return 1;
    }

    /**
     * Returns the bytes of the record's value; null: a tombstone, or not received.
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
