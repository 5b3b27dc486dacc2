<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Support\ExtensionMissing;
use Toporia\Realtime\Support\Version;

/** Checks that the extension is loaded and matches PHP and the PHP layer. */
final class ExtensionCheck extends Check
{
    public const NAME = 'extension';
    public const TITLE = 'PHP and the extension';
    private const EXTENSION = 'toporia_realtime';
    private const MINIMUM = '8.1.0';

    public function run(Context $context): iterable
    {
        $php = 'PHP ' . PHP_VERSION . ' (' . PHP_SAPI . (PHP_ZTS ? ', ZTS' : ', NTS') . (PHP_DEBUG ? ', debug' : '') . ')';
        yield version_compare(PHP_VERSION, self::MINIMUM, '<')
            ? Finding::error('php', "$php is too old", 'Use PHP 8.1 or newer.')
            : Finding::ok('php', $php, ['version' => PHP_VERSION]);
        if (!$context->hasExtension()) {
            $context->block('extension', 'the extension is not loaded');
            yield Finding::error(
                'extension',
                'is not loaded',
                ExtensionMissing::current()->remedy(),
                ['version' => false]
            );

            return;
        }
        $loaded = (string) phpversion(self::EXTENSION);
        yield Finding::ok('extension', 'toporia_realtime ' . ($loaded ?: '(no version)') . ' is loaded', [
            'version' => $loaded,
        ]);
        yield from $this->fit($context, $loaded);
    }

    /** @return iterable<Finding> */
    private function fit(Context $context, string $loaded): iterable
    {
        $layer = Version::NUMBER;
        $root = dirname(__DIR__, 3);
        $remedy = is_file("$root/Cargo.toml")
            ? "Run `make install` in $root, then restart php-fpm and the workers (realtime:restart)."
            : 'Install the same version of both: `composer require '
                . 'toporia/realtime:' . ($loaded ?: '…') . '`, or `pie install '
                . "toporia/realtime-ext:$layer`; then restart php-fpm and the workers (realtime:restart).";
        if (!Version::matches()) {
            yield Finding::error('extension', "is version $loaded, and the PHP layer is version $layer", $remedy, [
                'layer' => $layer,
            ]);
        }
        $missing = self::missing("$root/stubs");
        if ($missing !== []) {
            $shown = implode(', ', array_slice($missing, 0, 5)) . (count($missing) > 5 ? ', …' : '');
            if (preg_grep('/\AAdmin::/', $missing) !== []) {
                $context->block('admin', 'the extension is older than the PHP layer');
            }
            yield Finding::error(
                'extension',
                "is older than the PHP layer: it has no $shown",
                $remedy,
                ['missing' => $missing]
            );
        }
    }

    /**
     * Methods of the stubs that the loaded extension lacks.
     *
     * @return list<string>
     */
    private static function missing(string $stubs): array
    {
        $missing = [];
        foreach (glob("$stubs/*.php") ?: [] as $file) {
            $class = 'Toporia\Realtime\\' . basename($file, '.php');
            preg_match_all('/^    public (?:static )?function (\w+)\(/m', (string) file_get_contents($file), $match);
            foreach ($match[1] as $method) {
                if (!method_exists($class, $method)) {
                    $missing[] = basename($file, '.php') . "::$method()";
                }
            }
        }

        return $missing;
    }
}
