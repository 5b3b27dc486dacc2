<?php

/**
 * Immutable; one context is the current one.
 */

declare(strict_types=1);

namespace OpenTelemetry\Context;

final class Context implements ContextInterface
{
    /** @var list<ContextInterface> */
    public static array $active = [];

    /** @param array<string, mixed> $values */
    private function __construct(private array $values = [])
    {
    }

    public static function getRoot(): ContextInterface
    {
        return new self();
    }

    public static function getCurrent(): ContextInterface
    {
        return self::$active === [] ? new self() : self::$active[count(self::$active) - 1];
    }

    public function activate(): ScopeInterface
    {
        self::$active[] = $this;

        return new Scope();
    }

    public function with(string $key, mixed $value): ContextInterface
    {
        return new self([$key => $value] + $this->values);
    }

    public function get(string $key): mixed
    {
        return $this->values[$key] ?? null;
    }
}
