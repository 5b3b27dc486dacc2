<?php

/**
 * One part of the suite: causes its faults, prints its table.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

interface Part
{
    /** @return bool false where a promise was broken */
    public function run(): bool;
}
