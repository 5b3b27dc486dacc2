<?php

/**
 * The innermost active context.
 */

declare(strict_types=1);

namespace OpenTelemetry\Context;

final class Scope implements ScopeInterface
{
    public function detach(): int
    {
        array_pop(Context::$active);

        return 0;
    }
}
