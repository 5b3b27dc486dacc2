<?php

/**
 * Says why the extension is not there and which command fixes it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Toporia\Realtime\Exception\ExtensionMissingException;

/**
 * Tells apart: not installed; installed but not enabled for this kind of PHP; built in this checkout but not loaded.
 */
final class ExtensionMissing
{
    private const NAME = 'toporia_realtime';

    public function __construct(
        private string $extensionDir,
        private string $packageRoot,
        private string $sapi,
        private ?string $iniFile
    ) {
    }

    /**
     * The exception for something that needs the extension.
     *
     * @param string $what begins the sentence: `Broker::publish()`
     */
    public static function exception(string $what): ExtensionMissingException
    {
        $here = new self(
            (string) ini_get('extension_dir'),
            dirname(__DIR__, 2),
            PHP_SAPI,
            php_ini_loaded_file() ?: null
        );

        return new ExtensionMissingException($here->explain($what));
    }

    /**
     * The path of a build in this source checkout, null where there is none.
     */
    public static function built(string $packageRoot): ?string
    {
        $library = $packageRoot . '/target/release/lib' . self::NAME . '.so';

        return is_file($packageRoot . '/Cargo.toml') && is_file($library) ? $library : null;
    }

    public function explain(string $what): string
    {
        $text = sprintf(
            '%s needs the PHP extension %s, which is not loaded (PHP %s, %s, %s). ',
            $what,
            self::NAME,
            PHP_VERSION,
            $this->sapi,
            $this->iniFile ?? 'no php.ini'
        );

        return $text . $this->advice() . ' In tests, Realtime::fake() does without it.';
    }

    private function advice(): string
    {
        $installed = $this->extensionDir . '/' . self::NAME . '.so';
        if (is_file($installed)) {
            return sprintf(
                '%s is installed but not enabled here: put the line "extension=%s" into %s%s.',
                $installed,
                self::NAME,
                $this->iniFile ?? 'a php.ini',
                $this->sapi === 'cli' ? '' : ' and restart ' . ($this->sapi === 'fpm-fcgi' ? 'php-fpm' : 'the server')
            );
        }
        $library = self::built($this->packageRoot);
        if ($library !== null) {
            return sprintf(
                '%s is built but not loaded: run `make install`, or start PHP with -d extension=%1$s.',
                $library
            );
        }
        if (is_file($this->packageRoot . '/Cargo.toml')) {
            return 'It is not built yet: run `make install` in ' . $this->packageRoot . '.';
        }

        return 'It is not installed: run `pie install toporia/realtime-ext`.';
    }
}
