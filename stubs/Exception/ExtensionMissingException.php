<?php

/**
 * IDE stub of the native ExtensionMissingException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;

/**
 * The toporia_realtime extension is not loaded. The message says which case it is and names the command that fixes it.
 */
class ExtensionMissingException extends RuntimeException implements RealtimeException
{
}
