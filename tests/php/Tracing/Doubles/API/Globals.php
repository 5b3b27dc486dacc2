<?php

/**
 * The global OpenTelemetry instances of an application; here they are set up, too.
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
