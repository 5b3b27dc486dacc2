<?php

/**
 * Stands in for the framework's message, for code that was written for Toporia and runs without it.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime;

use JsonSerializable;
use Toporia\Framework\Realtime\Contracts\MessageInterface;
use Toporia\Realtime\Message as NativeMessage;

/**
 * The framework's methods over a native message; data nobody asks for is not decoded.
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
     * @param string|null $id null: a new one
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

    /**
     * The same message as the framework's code knows it.
     */
    public static function fromNative(NativeMessage $native): static
    {
        // Cloned, because the constructor would make an id that nobody wants.
        $message = clone (self::$blank ??= new static('ping'));
        $message->native = $native;

        return $message;
    }

    /**
     * The message with what the framework's has no methods for: key, headers, topic, offset, attempt.
     */
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
