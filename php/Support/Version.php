<?php

/**
 * The version of the PHP layer, beside that of the extension.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Support;

/**
 * Both come from one release and belong together: the PHP layer through Composer or a package, the extension from another.
 */
final class Version
{
    /** Written by tools/version.sh, from Cargo.toml. */
    public const NUMBER = '0.1.0';

    /**
     * The version of the extension that is loaded; null where none is.
     */
    public static function ofExtension(): ?string
    {
        $version = phpversion('toporia_realtime');

        return $version === false ? null : $version;
    }

    /**
     * True where no extension is loaded, or one of this very version.
     */
    public static function matches(): bool
    {
        return in_array(self::ofExtension(), [null, self::NUMBER], true);
    }
}
