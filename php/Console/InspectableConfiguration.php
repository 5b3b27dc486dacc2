<?php

/**
 * A host whose configuration realtime:doctor can look at even where it is refused.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

/**
 * A Host whose config() may throw has it, so that the doctor can say what is wrong instead of failing.
 */
interface InspectableConfiguration
{
    /**
     * The array that Realtime::configure() is given in this host; throws nothing.
     *
     * @return array<string, mixed>
     */
    public function inspectedConfig(): array;

    /**
     * Why the configuration could not be read at all; null where it could.
     */
    public function loadError(): ?string;
}
