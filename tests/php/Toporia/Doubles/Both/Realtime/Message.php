<?php

/**
 * A message that is final and creates its own id, like the framework's.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime;

use Toporia\Framework\Realtime\Contracts\MessageInterface;

final class Message implements MessageInterface
{
    private array $parts;

    public function __construct(
        string $type,
        ?string $channel = null,
        ?string $event = null,
        mixed $data = null,
        ?string $id = null,
        ?int $timestamp = null
    ) {
        $id ??= uniqid('msg_', true);
        $timestamp ??= time();
        $this->parts = compact('id', 'type', 'channel', 'event', 'data', 'timestamp');
    }

    public function getId(): string
    {
        return $this->parts['id'];
    }

    public function getType(): string
    {
        return $this->parts['type'];
    }

    public function getChannel(): ?string
    {
        return $this->parts['channel'];
    }

    public function getEvent(): ?string
    {
        return $this->parts['event'];
    }

    public function getData(): mixed
    {
        return $this->parts['data'];
    }

    public function getTimestamp(): int
    {
        return $this->parts['timestamp'];
    }

    public function toJson(): string
    {
        return json_encode($this->toArray(), JSON_THROW_ON_ERROR);
    }

    public function toArray(): array
    {
        return array_filter($this->parts, static fn (mixed $part): bool => $part !== null);
    }

    public static function fromJson(string $json): static
    {
        return self::fromArray(json_decode($json, true, 512, JSON_THROW_ON_ERROR));
    }

    public static function fromArray(array $data): static
    {
        return new static(
            $data['type'] ?? 'event',
            $data['channel'] ?? null,
            $data['event'] ?? null,
            $data['data'] ?? null,
            $data['id'] ?? null,
            $data['timestamp'] ?? null
        );
    }

    public static function event(?string $channel, string $event, mixed $data): static
    {
        return new static('event', $channel, $event, $data);
    }
}
