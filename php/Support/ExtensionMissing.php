<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Toporia\Realtime\Exception\ExtensionMissingException;

/**
 * Diagnoses why the extension is not loaded, and names the command that fixes it. Distinguishes: not installed;
 * installed for another PHP; installed but not enabled for this SAPI; enabled but built for another PHP; built in this
 * checkout but not loaded.
 */
final class ExtensionMissing
{
    private const NAME = 'toporia_realtime';

    /**
     * @param string $extensionDir PHP's extension_dir
     * @param string|null $iniFile the loaded php.ini
     * @param string $moreIni the additional ini files, as php_ini_scanned_files() lists them
     * @param string $build build of this PHP: `API20220829,NTS`; empty: unknown
     * @param string $debian Debian's configuration directory of all PHP versions
     */
    public function __construct(
        private string $extensionDir,
        private string $packageRoot,
        private string $sapi,
        private ?string $iniFile,
        private string $moreIni = '',
        private string $build = '',
        private string $debian = '/etc/php'
    ) {
    }

    /**
     * The exception for a call that needs the extension.
     *
     * @param string $what subject of the message: `Broker::publish()`
     */
    public static function exception(string $what): ExtensionMissingException
    {
        return new ExtensionMissingException(self::current()->explain($what));
    }

    /** Diagnoses the running PHP. */
    public static function current(): self
    {
        return new self(
            (string) ini_get('extension_dir'),
            dirname(__DIR__, 2),
            PHP_SAPI,
            php_ini_loaded_file() ?: null,
            php_ini_scanned_files() ?: '',
            self::runningBuild()
        );
    }

    /** The path of a build in this source checkout; null if there is none. */
    public static function builtLibrary(string $packageRoot): ?string
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

        return $text . $this->remedy() . ' In tests, Realtime::fake() works without it.';
    }

    /** The command that fixes it. */
    public function remedy(): string
    {
        $enablingIniFile = $this->enablingIniFile();
        $file = $this->extensionDir . '/' . self::NAME . '.so';
        if ($enablingIniFile !== null) {
            return $this->adviceIfEnabled($enablingIniFile, $file);
        }
        if (is_file($file)) {
            $other = $this->otherBuild($file);

            return $other !== null ? "$file is built for another PHP: $other" : $this->adviceToEnable($file);
        }
        foreach (glob(dirname($this->extensionDir) . '/*/' . self::NAME . '.so') ?: [] as $elsewhere) {
            return "It is installed for another PHP ($elsewhere), not for this one, which "
                . "looks in $this->extensionDir: "
                . $this->rebuild();
        }

        return $this->adviceToInstall();
    }

    /** An ini file enables it, but PHP failed to load it and reported so only at startup. */
    private function adviceIfEnabled(string $iniFile, string $file): string
    {
        if (!is_file($file)) {
            return "$iniFile enables it, but $file is not there: " . $this->installCommand();
        }
        $other = $this->otherBuild($file);
        if ($other !== null) {
            return "$iniFile enables it, but $file is built for another PHP: $other";
        }
        $restart = $this->restart();

        return "$iniFile enables it, but this PHP has not loaded $file: "
            . ($restart === '' ? '' : "if it was installed just now,$restart; else ")
            . 'check the output of `php -d display_startup_errors=1 -v`.';
    }

    private function adviceToEnable(string $file): string
    {
        $version = PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION;
        $name = self::NAME;
        $kind = ['fpm-fcgi' => 'fpm', 'apache2handler' => 'apache2', 'cgi-fcgi' => 'cgi'][$this->sapi] ?? $this->sapi;
        $restart = $this->restart();
        $restart = $restart === '' ? '' : " and$restart";
        if (is_file("$this->debian/$version/mods-available/$name.ini")) {
            return "$file is installed but not enabled for $kind: run `phpenmod -v $version -s $kind $name`$restart.";
        }

        return sprintf(
            '%s is installed but not enabled here: put the line "extension=%s" into %s%s.',
            $file,
            $name,
            $this->iniFile ?? 'a php.ini',
            $restart
        );
    }

    private function adviceToInstall(): string
    {
        $library = self::builtLibrary($this->packageRoot);
        if ($library !== null) {
            $other = $this->otherBuild($library);

            return $other !== null ? "$library is built for another PHP: $other" : sprintf(
                '%s is built but not loaded: run `make install`, or start PHP with -d extension=%1$s.',
                $library
            );
        }
        if (is_file($this->packageRoot . '/Cargo.toml')) {
            return 'It is not built yet: run `make install` in ' . $this->packageRoot . '.';
        }

        return 'It is not installed: ' . $this->installCommand();
    }

    private function installCommand(): string
    {
        return is_file($this->packageRoot . '/Cargo.toml')
            ? "run `make install` in $this->packageRoot."
            : 'run `pie install toporia/realtime-ext`.';
    }

    /** Compares a library's build with this PHP; null if they match or the build is unknown. */
    private function otherBuild(string $file): ?string
    {
        $found = @preg_match('/API\d{8},N?TS(?:,debug)?/', (string) @file_get_contents($file), $match) === 1;
        if (!$found || $this->build === '' || $match[0] === $this->build) {
            return null;
        }

        return "it is $match[0], this one is $this->build. " . ucfirst($this->rebuild());
    }

    private function rebuild(): string
    {
        $version = PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION;

        return is_file($this->packageRoot . '/Cargo.toml')
            ? "run `make install PHP=php$version PHP_CONFIG=php-config$version` in $this->packageRoot."
            : "run `pie install --with-php-config=php-config$version toporia/realtime-ext`.";
    }

    private function restart(): string
    {
        return match ($this->sapi) {
            'cli', 'phpdbg', 'micro' => '',
            'fpm-fcgi' => ' restart php-fpm',
            default => ' restart the server',
        };
    }

    /** The ini file that enables the extension. */
    private function enablingIniFile(): ?string
    {
        return self::firstEnabling([(string) $this->iniFile, ...explode(',', $this->moreIni)]);
    }

    /**
     * The first of these ini files that enables the extension.
     *
     * @param array<int, string> $files
     */
    public static function firstEnabling(array $files): ?string
    {
        $line = '/^\s*extension\s*=\s*"?[^;"\n]*' . self::NAME . '/mi';
        foreach (array_filter(array_map('trim', $files), 'is_file') as $file) {
            if (preg_match($line, (string) @file_get_contents($file)) === 1) {
                return $file;
            }
        }

        return null;
    }

    private static function runningBuild(): string
    {
        // phpinfo() is the only place where PHP reports its build.
        ob_start();
        phpinfo(INFO_GENERAL);
        $text = strip_tags((string) ob_get_clean());

        return preg_match('/PHP Extension Build\W+(API\d+,N?TS(?:,debug)?)/', $text, $match) === 1 ? $match[1] : '';
    }
}
