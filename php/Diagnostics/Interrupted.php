<?php

/**
 * Interrupts a request to Kafka after a signal.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use RuntimeException;

/**
 * Thrown and caught by Interrupt::run().
 */
final class Interrupted extends RuntimeException
{
}
