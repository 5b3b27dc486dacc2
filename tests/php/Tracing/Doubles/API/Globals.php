<?php

/**
 * Where an application's OpenTelemetry is found; here it is also set up.
 */

declare(strict_types=1);

namespace OpenTelemetry\API;

use OpenTelemetry\API\Trace\Span;
use OpenTelemetry\API\Trace\TracerProvider;
use OpenTelemetry\Context\Propagation\Propagator;

final class Globals
{
    /** @var list<Span> every span that was started */
    public static array $spans = [];

    public static function tracerProvider(): TracerProvider
    {
        return new TracerProvider();
    }

    public static function propagator(): Propagator
    {
        return new Propagator();
    }
}
