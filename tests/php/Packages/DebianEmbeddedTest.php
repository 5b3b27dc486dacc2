<?php

/**
 * The Debian packages: control fields, contents, and scripts.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Packages;

final class DebianEmbeddedTest extends PackagesTestCase
{
    private static function extension(): string
    {
        return self::package('php' . self::phpVersion() . '-toporia-realtime_*.deb');
    }

    private static function layer(): string
    {
        return self::package('php-toporia-realtime_*_all.deb');
    }

    private static function field(string $package, string $name): string
    {
        return trim(self::execute(['dpkg-deb', '-f', $package, $name])[1]);
    }

    /** @return list<string> */
    private static function files(string $package): array
    {
        preg_match_all('~^-\S+ root/root .* \./(.+)$~m', self::execute(['dpkg-deb', '-c', $package])[1], $match);

        return $match[1];
    }

    public function testTheExtensionFitsOnePhpOnly(): void
    {
        $api = preg_match('/^PHP Extension => (\d+)$/m', self::execute([PHP_BINARY, '-n', '-i'])[1], $match) ? $match[1] : '';
        $depends = self::field(self::extension(), 'Depends');
        self::assertMatchesRegularExpression("/(^|, )phpapi-$api(,|$)/", $depends);
        self::assertMatchesRegularExpression('/(^|, )libc6 \(>= 2\.[0-9]+\)/', $depends);
        self::assertMatchesRegularExpression('/(^|, )libssl3\S* \(>= 3/', $depends);
        self::assertMatchesRegularExpression('/(^|, )libzstd1( |$)/', $depends);
        $expected = [
            'etc/php/' . self::phpVersion() . '/mods-available/toporia_realtime.ini',
            "usr/lib/php/$api/toporia_realtime.so",
        ];
        self::assertSame([], array_diff($expected, self::files(self::extension())));
    }

    /** A cross-built library is not known to dpkg: its dependencies are read from the library itself. */
    public function testACrossBuiltLibraryHasTheSameDependencies(): void
    {
        $script = <<<'BASH'
            . "$1/tools/common.sh"
            . "$1/packaging/debian.sh"
            REALTIME_CROSS_ROOT="$(mktemp -d)"
            trap 'rm -rf "$REALTIME_CROSS_ROOT"' EXIT
            # The loader has no arrow.
            ldd "$2" | grep -oE '/[^ ]+' | while read -r path; do
                echo "${path##*/} $(dpkg-query -S "*-linux-gnu/${path##*/}" | sed -n "s|:$(dpkg --print-architecture):.*||p" | head -n 1)"
            done | sort -u >"$REALTIME_CROSS_ROOT/libraries"
            cross_dependencies "$2"
            BASH;
        $extension = getenv('REALTIME_EXTENSION') ?: self::root() . '/target/release/libtoporia_realtime.so';
        [$status, $found, $errors] = self::execute(['bash', '-c', $script, 'bash', self::root(), $extension]);
        self::assertSame(0, $status, $errors);
        $depends = explode(', libc6', self::field(self::extension(), 'Depends'));
        $depends = 'libc6' . $depends[1];
        $names = static fn (string $text): array => explode(', ', trim(preg_replace('/ \(.*?\)/', '', $text)));
        self::assertSame($names($depends), $names($found));
        foreach (['/libc6 \(>= [0-9.]+/', '/libssl3\w* \(>= [0-9.]+/'] as $pattern) {
            self::assertSame(1, preg_match($pattern, $found, $version), $found);
            self::assertStringContainsString($version[0], $depends);
        }
    }

    public function testEveryUserMayReadTheFiles(): void
    {
        foreach ([self::extension(), self::layer()] as $package) {
            $listing = self::execute(['dpkg-deb', '-c', $package])[1];
            self::assertSame([], preg_grep('/^(?!-rw-r--r-- |-rwxr-xr-x |drwxr-xr-x |l)./', explode("\n", $listing)), $package);
        }
    }

    public function testBothHaveTheVersionOfCargoToml(): void
    {
        foreach ([self::extension(), self::layer()] as $package) {
            self::assertSame(str_replace('-', '~', self::version()) . '-1', self::field($package, 'Version'));
            [, $changelog] = self::execute([
                'sh', '-c', 'dpkg-deb --fsys-tarfile "$1" | tar -xOf - --wildcards "*/changelog.Debian.gz" | zcat', 'sh', $package,
            ]);
            self::assertStringStartsWith(
                'php-toporia-realtime',
                str_replace('php' . self::phpVersion() . '-', 'php-', $changelog)
            );
            self::assertStringContainsString('(' . self::field($package, 'Version') . ')', $changelog);
        }
    }

    public function testTheIniEnablesTheExtensionAndSurvivesAnUpgrade(): void
    {
        $path = 'etc/php/' . self::phpVersion() . '/mods-available/toporia_realtime.ini';
        [, $ini] = self::execute(
            ['sh', '-c', 'dpkg-deb --fsys-tarfile "$1" | tar -xOf - "./$2"', 'sh', self::extension(), $path]
        );
        self::assertSame(['extension' => 'toporia_realtime.so'], parse_ini_string($ini));
        self::assertStringContainsString('; priority=20', $ini);
        self::assertSame("/$path\n", self::execute(['dpkg-deb', '-I', self::extension(), 'conffiles'])[1]);
    }

    public function testItsScriptsAreValidAndForThisPhp(): void
    {
        foreach (['postinst' => 'enmod', 'prerm' => 'dismod', 'postrm' => 'rm -f'] as $name => $action) {
            [, $script] = self::execute(['dpkg-deb', '-I', self::extension(), $name]);
            self::assertStringContainsString($action, $script);
            self::assertStringContainsString(self::phpVersion(), $script);
            self::assertStringNotContainsString('@', $script);
            [$status, , $errors] = self::execute(['sh', '-n'], [], $script);
            self::assertSame(0, $status, "$name: $errors");
        }
    }

    public function testTheLayerHasTheConsoleTheAutoloaderAndTheDocuments(): void
    {
        $wanted = [
            'usr/share/php/Toporia/Realtime/autoload.php', 'usr/share/php/Toporia/Realtime/php/autoload.php',
            'usr/share/php/Toporia/Realtime/stubs/Realtime.php', 'usr/share/php/Toporia/Realtime/bin/toporia-realtime',
            'usr/share/man/man1/toporia-realtime.1.gz', 'usr/share/doc/php-toporia-realtime/README.md',
            'usr/share/doc/php-toporia-realtime/copyright', 'usr/share/doc/php-toporia-realtime/docs/install.md',
        ];
        self::assertSame([], array_diff($wanted, self::files(self::layer())));
        self::assertStringContainsString(
            './usr/bin/toporia-realtime -> ../share/php/Toporia/Realtime/bin/toporia-realtime',
            self::execute(['dpkg-deb', '-c', self::layer()])[1]
        );
    }

    public function testTheLayerRunsFromDebiansPaths(): void
    {
        $root = self::packages() . '-debian';
        self::execute(['dpkg-deb', '-x', self::layer(), $root]);
        self::execute(['dpkg-deb', '-x', self::extension(), $root]);
        $library = glob("$root/usr/lib/php/*/toporia_realtime.so")[0] ?? '';
        try {
            $console = [PHP_BINARY, '-d', "extension=$library", "$root/usr/bin/toporia-realtime", '--version'];
            self::assertSame('Toporia Realtime ' . self::version(), trim(self::execute($console)[1]));
            // Without the extension: the stand-ins are found too.
            $code = 'require "Toporia/Realtime/autoload.php"; Toporia\Realtime\Realtime::fake();'
                . ' echo get_class(Toporia\Realtime\Realtime::broker());';
            [$status, $output, $errors] = self::execute(
                [PHP_BINARY, '-n', '-d', "include_path=$root/usr/share/php:/usr/share/php", '-r', $code]
            );
            self::assertSame([0, 'Toporia\Realtime\Broker'], [$status, $output], $errors);
        } finally {
            self::execute(['rm', '-rf', $root]);
        }
    }
}
