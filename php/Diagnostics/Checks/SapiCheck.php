<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Support\ExtensionMissing;

/**
 * Checks that php-fpm and Apache's PHP load the extension too. Debian has one conf.d per SAPI, so an extension enabled
 * for the CLI may be missing in web pages.
 */
final class SapiCheck extends Check
{
    public const NAME = 'other-sapis';
    public const TITLE = 'PHP and the extension';
    public const NEEDS = ['extension'];
    private const EXTENSION = 'toporia_realtime';
    private const SERVICES = ['fpm' => 'php%s-fpm', 'apache2' => 'apache2'];

    /** @param string $debian configuration directory of all PHP versions */
    public function __construct(private string $debian = '/etc/php')
    {
    }

    public function run(Context $context): iterable
    {
        $version = PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION;
        foreach (self::SERVICES as $sapi => $service) {
            $directory = "$this->debian/$version/$sapi";
            if (!is_dir("$directory/conf.d")) {
                continue;
            }
            $file = ExtensionMissing::firstEnabling(["$directory/php.ini", ...(glob("$directory/conf.d/*.ini") ?: [])]);
            $service = sprintf($service, $version);
            yield $file !== null
                ? Finding::ok($sapi, "$file enables the extension")
                : Finding::warning(
                    $sapi,
                    "nothing in $directory enables the extension: pages served by $service do not have it",
                    is_file("$this->debian/$version/mods-available/" . self::EXTENSION . '.ini')
                        ? "phpenmod -v $version -s $sapi " . self::EXTENSION . " && systemctl restart $service"
                        : "Put the line extension=" . self::EXTENSION . " into $directory/conf.d/20-" . self::EXTENSION . ".ini, and "
                            . "restart $service. Ignore this if no page of this application runs there."
                );
        }
    }
}
