<?php

/**
 * Stands in for the framework's contract of a message, for code that was written for Toporia and runs without it.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Contracts;

/**
 * The parts of an envelope.
 */
interface MessageInterface
{
    public function getId(): string;

    public function getType(): string;

    public function getChannel(): ?string;

    public function getEvent(): ?string;

    public function getData(): mixed;

    /**
     * Unix seconds.
     */
    public function getTimestamp(): int;

    public function toJson(): string;

    /** @return array<string, mixed> */
    public function toArray(): array;

    public static function fromJson(string $json): static;

    /** @param array<string, mixed> $data */
    public static function fromArray(array $data): static;
}
