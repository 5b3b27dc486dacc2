<?php

/**
 * IDE stub of the native ConfigurationException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use InvalidArgumentException;

/**
 * A setting that cannot be: an unknown key, a wrong type, settings that contradict each other, or a call that makes no
 * sense on this broker. The message names the key, where it was set, and the nearest known one.
 */
class ConfigurationException extends InvalidArgumentException implements RealtimeException
{
}
