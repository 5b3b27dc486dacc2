<?php

/**
 * Associated values; the keys here are names.
 */

declare(strict_types=1);

namespace OpenTelemetry\Context;

interface ContextInterface
{
    public static function getCurrent(): ContextInterface;

    public function activate(): ScopeInterface;

    public function with(string $key, mixed $value): ContextInterface;

    public function get(string $key): mixed;
}
