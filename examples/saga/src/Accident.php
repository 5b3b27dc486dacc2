<?php

/**
 * Kills a service once at a chosen moment, as a power failure would, to show that orders stay consistent.
 */

declare(strict_types=1);

namespace Saga;

/**
 * `SAGA_ACCIDENTS=payment:after-commit:1,shipping:before-commit:2`: service, moment, order.
 */
final class Accident
{
    public static function at(string $service, string $moment, int $order): void
    {
        $accident = "$service:$moment:$order";
        $planned = explode(',', getenv('SAGA_ACCIDENTS') ?: '');
        $mark = (getenv('SAGA_DIRECTORY') ?: sys_get_temp_dir()) . '/' . strtr($accident, ':', '-') . '.accident';
        if (in_array($accident, $planned, true) && !is_file($mark)) {
            touch($mark);
            posix_kill(posix_getpid(), SIGKILL);
        }
    }
}
