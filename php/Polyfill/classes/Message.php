<?php

declare(strict_types=1);

namespace Toporia\Framework\Realtime;

use JsonSerializable;
use Toporia\Framework\Realtime\Contracts\MessageInterface;
use Toporia\Realtime\Message as NativeMessage;

/**
 * Polyfill of the framework's message, for code written for Toporia that runs without it. Wraps a native message; data
 * is decoded on first use.
 *
 *     $broker->publish('orders.events', Message::event('orders.events', 'order.created', ['order_id' => 7]));
 */
final class Message implements MessageInterface, JsonSerializable
{
    private static ?self $blank = null;
    private NativeMessage $native;

    /**
     * @param string $type event, subscribe, unsubscribe, error, ping or pong
     * @param mixed $data anything json_encode() takes
     * @param string|null $id null: generate one
     * @param int|null $timestamp Unix seconds; null: now
     */
    public function __construct(
        string $type,
        ?string $channel = null,
        ?string $event = null,
        mixed $data = null,
        ?string $id = null,
        ?int $timestamp = null
    ) {
        $this->native = NativeMessage::fromArray(array_filter(
            [
                'id' => $id,
                'type' => $type,
                'channel' => $channel,
                'event' => $event,
                'data' => $data,
                'timestamp' => $timestamp ?? time(),
            ],
            static fn (mixed $part): bool => $part !== null
        ));
    }

    /** Wraps a native message. */
    public static function fromNative(NativeMessage $native): static
    {
        // Cloned, because the constructor would generate an id for nothing.
        $message = clone (self::$blank ??= new static('ping'));
        $message->native = $native;

        return $message;
    }

    /** The native message, with key, headers, topic, offset and attempt. */
    public function native(): NativeMessage
    {
        return $this->native;
    }

    public function getId(): string
    {
        return $this->native->getId();
    }

    public function getType(): string
    {
        return $this->native->getType();
    }

    public function getChannel(): ?string
    {
        return $this->native->getChannel();
    }

    public function getEvent(): ?string
    {
        return $this->native->getEvent();
    }

    public function getData(): mixed
    {
        return $this->native->getData();
    }

    public function getTimestamp(): int
    {
        return $this->native->getTimestamp();
    }

    public function toJson(): string
    {
        return $this->native->toJson();
    }

    /** @return array<string, mixed> */
    public function toArray(): array
    {
        return $this->native->toArray();
    }

    public function jsonSerialize(): mixed
    {
        return $this->native;
    }

    public static function fromJson(string $json): static
    {
        return self::fromNative(NativeMessage::fromJson($json));
    }

    /** @param array<string, mixed> $data */
    public static function fromArray(array $data): static
    {
        return self::fromNative(NativeMessage::fromArray($data));
    }

    public static function event(?string $channel, string $event, mixed $data): static
    {
        return self::fromNative(NativeMessage::event($channel, $event, $data));
    }

    public static function subscribe(string $channel): static
    {
        return new static('subscribe', $channel);
    }

    public static function unsubscribe(string $channel): static
    {
        return new static('unsubscribe', $channel);
    }

    public static function error(string $error, int $code = 0): static
    {
        return new static('error', null, null, ['message' => $error, 'code' => $code]);
    }

    public static function ping(): static
    {
        return new static('ping');
    }

    public static function pong(): static
    {
        return new static('pong');
    }
}
