<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * The toporia_realtime extension is not loaded. The message gives the reason and the command that fixes it.
 */
class ExtensionMissingException extends RuntimeException implements RealtimeException
{
}
