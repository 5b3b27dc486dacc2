<?php

/**
 * A callback returned or yielded a promise.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Ends consume() instead of failing the message: another attempt would not help, the callback has to be changed.
 */
final class UnfinishedWork extends ConfigurationException
{
}
