<?php

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

/**
 * Polyfill of the framework's message contract, for code written for Toporia that runs without it. Read access to the
 * parts of an envelope.
 */
interface MessageInterface
{
    public function getId(): string;

    public function getType(): string;

    public function getChannel(): ?string;

    public function getEvent(): ?string;

    public function getData(): mixed;

    /** The time in Unix seconds. */
    public function getTimestamp(): int;

    public function toJson(): string;

    /** @return array<string, mixed> */
    public function toArray(): array;

    public static function fromJson(string $json): static;

    /** @param array<string, mixed> $data */
    public static function fromArray(array $data): static;
}
