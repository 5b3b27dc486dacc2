<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use RuntimeException;

/**
 * Interrupts a request to Kafka after a signal. Thrown and caught by Interrupt::run().
 */
final class Interrupted extends RuntimeException
{
}
