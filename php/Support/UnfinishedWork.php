<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Toporia\Realtime\Exception\ConfigurationException;

/**
 * A callback returned or yielded a promise. Ends consume() instead of failing the message: another attempt would not
 * help, the callback has to be changed.
 */
final class UnfinishedWork extends ConfigurationException
{
}
