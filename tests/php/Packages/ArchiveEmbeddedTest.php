<?php

/**
 * The archive for one PHP version, and PIE's download: names, contents, and that they work where they were unpacked.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Packages;

use PharData;
use Toporia\Realtime\Support\Version;

final class ArchiveEmbeddedTest extends PackagesTestCase
{
    private static string $folder = '';

    private static function unpacked(): string
    {
        if (self::$folder === '') {
            $target = self::packages() . '-unpacked';
            mkdir($target);
            register_shutdown_function(static fn () => self::execute(['rm', '-rf', $target]));
            [$status, , $errors] = self::execute(['tar', '-C', $target, '-xzf', self::archive()]);
            self::assertSame(0, $status, $errors);
            self::$folder = $target . '/' . basename(self::archive(), '.tar.gz');
        }

        return self::$folder;
    }

    private static function archive(): string
    {
        return self::package('toporia_realtime-*.tar.gz');
    }

    public function testItsNameContainsThePhpVersion(): void
    {
        $expected = sprintf(
            'toporia_realtime-%s-php%s-%s%s-%s-linux-glibc.tar.gz',
            self::version(),
            self::phpVersion(),
            PHP_ZTS ? 'zts' : 'nts',
            PHP_DEBUG ? '-debug' : '',
            php_uname('m')
        );
        self::assertSame($expected, basename(self::archive()));
    }

    public function testItHasEveryFileAndNoDevelopmentFiles(): void
    {
        $entries = array_map(
            static fn (string $path): string => substr($path, strpos($path, '/') + 1),
            self::listed(self::archive())
        );
        $wanted = [
            'toporia_realtime.so', 'install.sh', 'tools/install.sh', 'tools/common.sh', 'INSTALL.txt', 'LICENSE',
            'THIRD-PARTY-LICENSES.txt', 'README.md', 'CHANGELOG.md', 'composer.json', 'bin/toporia-realtime',
            'deploy/systemd/gateway.env.example', 'php/autoload.php', 'php/bootstrap.php',
            'php/Support/Version.php', 'php/Laravel/config/realtime.php',
            'stubs/Realtime.php', 'stubs/Exception/ConnectionException.php', 'docs/install.md',
        ];
        self::assertSame([], array_diff($wanted, $entries));
        self::assertSame([], preg_grep('~^(src|tests|target|build|vendor|packaging|\.)~', $entries));
        $repository = array_filter(
            explode("\0", self::execute(['git', 'ls-files', '-z', 'php', 'stubs'], [], null, self::root())[1]),
            static fn (string $path): bool => is_file(self::root() . "/$path")
        );
        self::assertSame([], array_diff($repository, $entries), 'of the PHP layer nothing is left out');
    }

    public function testItWorksFromWhereItWasUnpacked(): void
    {
        $folder = self::unpacked();
        [$status, $output, $errors] = self::execute([
            PHP_BINARY, '-n', '-d', "extension=$folder/toporia_realtime.so", self::root() . '/packaging/try/smoke.php',
        ]);
        self::assertSame(0, $status, $errors);
        self::assertStringStartsWith('toporia_realtime ' . self::version() . ' on PHP ' . PHP_VERSION, $output);
        self::assertStringContainsString('1000 messages sent and received', $output);
    }

    public function testItsConsoleRuns(): void
    {
        $folder = self::unpacked();
        $console = "$folder/bin/toporia-realtime";
        [$status, $output, $errors] = self::execute(
            [PHP_BINARY, '-d', "extension=$folder/toporia_realtime.so", $console, '--version']
        );
        self::assertSame(0, $status, $errors);
        self::assertSame('Toporia Realtime ' . self::version(), trim($output));
    }

    public function testItNamesTheRequiredGlibc(): void
    {
        $library = self::unpacked() . '/toporia_realtime.so';
        preg_match_all('/GLIBC_([0-9.]+)/', self::execute(['objdump', '-T', $library])[1], $versions);
        usort($versions[1], 'version_compare');
        $needed = end($versions[1]);
        self::assertNotFalse($needed);
        self::assertStringContainsString(
            "Needs glibc $needed or newer",
            (string) file_get_contents(self::unpacked() . '/INSTALL.txt')
        );
        // As promised in README and docs/install.md.
        self::assertTrue(version_compare($needed, '2.34', '<='), "$needed is newer than the 2.34 that is promised");
    }

    public function testItsInstallerRefusesALibraryForAnotherPhp(): void
    {
        $folder = self::unpacked();
        $library = (string) file_get_contents("$folder/toporia_realtime.so");
        $other = preg_replace('/API\d{8},/', 'API20991231,', $library);
        self::assertNotSame($library, $other);
        file_put_contents("$folder/toporia_realtime.so", $other);
        try {
            [$status, , $errors] = self::execute(["$folder/install.sh"], ['PHP' => PHP_BINARY]);
        } finally {
            file_put_contents("$folder/toporia_realtime.so", $library);
        }
        self::assertSame(1, $status);
        self::assertStringContainsString('It was built for API20991231,NTS, this one is API', $errors);
    }

    public function testTheSameSourcesGiveTheSameArchive(): void
    {
        $name = basename(self::archive());
        self::assertSame(
            hash_file('sha256', self::archive()) . "  $name",
            current(preg_grep('/ ' . preg_quote($name, '/') . '$/', file(self::packages() . '/SHA256SUMS', 2)))
        );
        [, $listing] = self::execute(['tar', '-tvzf', self::archive()]);
        preg_match_all('/^\S+ (\S+) +\d+ (\S+ \S+) /m', $listing, $columns);
        self::assertSame(['0/0'], array_values(array_unique($columns[1])), 'owner of every entry');
        self::assertCount(1, array_unique($columns[2]), 'time of every entry');
    }

    public function testTheSymbolsAreInAFileOfTheirOwnThatDebuggersFind(): void
    {
        $folder = self::packages() . '-symbols';
        mkdir($folder);
        try {
            self::execute(['tar', '-C', $folder, '-xzf', self::package('toporia_realtime_symbols-*.tar.gz')]);
            $library = self::unpacked() . '/toporia_realtime.so';
            $id = static fn (string $file): string => preg_match(
                '/Build ID: ([0-9a-f]{40})/',
                self::execute(['readelf', '-n', $file])[1],
                $match
            ) ? $match[1] : self::fail("$file has no build id");
            self::assertSame($id($library), $id("$folder/toporia_realtime.so.debug"));
            self::assertStringContainsString(
                'toporia_realtime.so.debug',
                self::execute(['readelf', '--string-dump=.gnu_debuglink', $library])[1]
            );
            self::assertStringNotContainsString('.symtab', self::execute(['readelf', '-S', '-W', $library])[1]);
            self::assertStringContainsString(
                ' rd_kafka_new',
                self::execute(['sh', '-c', 'nm "$1" | grep rd_kafka_new', 'sh', "$folder/toporia_realtime.so.debug"])[1]
            );
        } finally {
            self::execute(['rm', '-rf', $folder]);
        }
    }

    public function testPiesBinaryHasTheNamePieLooksFor(): void
    {
        $name = strtolower(sprintf(
            'php_%s-%s_php%s-%s-%s-%s%s%s.zip',
            'toporia_realtime',
            self::version(),
            self::phpVersion(),
            php_uname('m') === 'aarch64' ? 'arm64' : php_uname('m'),
            PHP_OS_FAMILY,
            'glibc',
            PHP_DEBUG ? '-debug' : '',
            PHP_ZTS ? '-zts' : ''
        ));
        $package = self::package('php_toporia_realtime-*.zip');
        self::assertSame($name, basename($package));
        self::assertSame(['LICENSE', 'THIRD-PARTY-LICENSES.txt', 'toporia_realtime.so'], self::entries($package));
        self::assertSame(
            hash_file('sha256', self::unpacked() . '/toporia_realtime.so'),
            hash('sha256', (new PharData($package))['toporia_realtime.so']->getContent())
        );
    }

    public function testPiesSourcePackageHasTheCrateAndWhatPhpizeReads(): void
    {
        $package = self::package('php_toporia_realtime-' . self::version() . '-src.tgz');
        $entries = self::entries($package);
        $wanted = ['Cargo.toml', 'Cargo.lock', 'build.rs', 'src/lib.rs', 'composer.json', 'config.m4', 'Makefile.frag', 'LICENSE'];
        self::assertSame([], array_diff($wanted, $entries));
        $composer = json_decode((new PharData($package))['composer.json']->getContent(), true);
        self::assertSame('php-ext', $composer['type']);
        self::assertSame('toporia_realtime', $composer['php-ext']['extension-name']);
        self::assertArrayNotHasKey('version', $composer);
        $root = json_decode((string) file_get_contents(self::root() . '/composer.json'), true);
        self::assertNotSame($root['name'], $composer['name'], 'PIE forbids a name that a PHP package has');
        self::assertStringContainsString($composer['name'], $root['suggest']['ext-toporia_realtime']);

        $folder = self::packages() . '-source';
        mkdir($folder);
        self::execute(['tar', '-C', $folder, '-xzf', $package]);
        [$status, $output, $errors] = self::execute(
            ['cargo', 'metadata', '--no-deps', '--offline', '--locked', '--format-version', '1'],
            [],
            null,
            $folder
        );
        self::execute(['rm', '-rf', $folder]);
        self::assertSame(0, $status, $errors);
        self::assertSame(Version::NUMBER, json_decode($output, true)['packages'][0]['version']);
    }
}
