<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

/**
 * A host whose configuration realtime:doctor can inspect even when it is rejected. Implemented by hosts whose config()
 * may throw, so that the doctor reports the error instead of failing.
 */
interface InspectableConfiguration
{
    /**
     * The array passed to Realtime::configure() in this host; never throws.
     *
     * @return array<string, mixed>
     */
    public function inspectedConfig(): array;

    /**
     * The reason why the configuration could not be loaded; null if it was loaded.
     */
    public function loadError(): ?string;
}
