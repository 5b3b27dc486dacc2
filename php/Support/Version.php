<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

/**
 * The versions of the PHP layer and of the extension. Both come from one release, but are installed separately:
 * Composer for the PHP layer, a package or PIE for the extension.
 */
final class Version
{
    /** Written by tools/version.sh, from Cargo.toml. */
    public const NUMBER = '0.1.0';

    /** The version of the loaded extension; null if it is not loaded. */
    public static function ofExtension(): ?string
    {
        $version = phpversion('toporia_realtime');

        return $version === false ? null : $version;
    }

    /** True if the extension has the same version, or is not loaded. */
    public static function matches(): bool
    {
        return in_array(self::ofExtension(), [null, self::NUMBER], true);
    }
}
