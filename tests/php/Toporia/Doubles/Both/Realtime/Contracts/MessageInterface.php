<?php

/**
 * The interface of a message.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

interface MessageInterface
{
    public function getId(): string;

    public function getType(): string;

    public function getChannel(): ?string;

    public function getEvent(): ?string;

    public function getData(): mixed;

    public function getTimestamp(): int;

    public function toJson(): string;

    public function toArray(): array;

    public static function fromJson(string $json): static;

    public static function fromArray(array $data): static;
}
