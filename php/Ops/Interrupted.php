<?php

/**
 * Ends a question to Kafka because a signal came.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

use RuntimeException;

/**
 * Thrown by Interrupt inside run(), and caught there.
 */
final class Interrupted extends RuntimeException
{
}
