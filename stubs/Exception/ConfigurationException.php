<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use InvalidArgumentException;

/**
 * An invalid setting: an unknown key, a wrong type, contradictory settings, or a call that this broker does not
 * support. The message names the key, where it was set, and the most similar valid key.
 */
class ConfigurationException extends InvalidArgumentException implements RealtimeException
{
}
