<?php

/**
 * Ends the scope of activate().
 */

declare(strict_types=1);

namespace OpenTelemetry\Context;

interface ScopeInterface
{
    public function detach(): int;
}
