<?php

/**
 * The licence notices name every linked library, with its text, and are not built if a text is missing.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Packages;

use PharData;

final class LicencesEmbeddedTest extends PackagesTestCase
{
    private static function notices(): string
    {
        return (new PharData(self::package('php_toporia_realtime-*.zip')))['THIRD-PARTY-LICENSES.txt']->getContent();
    }

    private static function platform(): string
    {
        return preg_match('/^host: (.+)$/m', self::execute(['rustc', '-vV'])[1], $match) ? $match[1] : '';
    }

    /** @return array<string, mixed> what cargo says about the crates */
    private static function metadata(): array
    {
        [$status, $output, $errors] = self::execute(
            ['cargo', 'metadata', '--offline', '--locked', '--format-version', '1', '--filter-platform', self::platform()],
            [],
            null,
            self::root()
        );
        self::assertSame(0, $status, $errors);

        return json_decode($output, true);
    }

    public function testEveryLinkedCrateIsNamedWithAText(): void
    {
        // Cargo's own list of linked crates, obtained differently from the script.
        [$status, $tree, $errors] = self::execute(
            ['cargo', 'tree', '--offline', '--locked', '-e', 'normal,no-proc-macro', '--prefix', 'none', '--no-dedupe', '-f', '{p}'],
            [],
            null,
            self::root()
        );
        self::assertSame(0, $status, $errors);
        preg_match_all('/^(\S+) v(\S+)$/m', $tree, $crates, PREG_SET_ORDER);
        $names = array_unique(array_map(static fn (array $crate): string => "$crate[1] $crate[2]", $crates));
        self::assertGreaterThan(50, count($names));
        $notices = self::notices();
        foreach ($names as $name) {
            // Once in the list, and once above its text.
            self::assertGreaterThanOrEqual(2, substr_count($notices, "$name ("), $name);
        }
        preg_match_all('/^  (\S+ [0-9]\S*) \(/m', $notices, $listed);
        self::assertSame([], array_values(array_diff($listed[1], $names)), 'named, though not linked');
    }

    public function testTheLibrariesInsideTheCratesAreNamedWithTheirTexts(): void
    {
        $notices = self::notices();
        $texts = [
            'librdkafka, inside rdkafka-sys' => 'Magnus Edenhill',
            'zlib, inside libz-sys' => 'Jean-loup Gailly',
            "Rust's standard library" => 'The',
            'OpenSSL (Apache-2.0), zstd (BSD-3-Clause)' => '',
        ];
        foreach ($texts as $name => $text) {
            self::assertStringContainsString($name, $notices);
            self::assertStringContainsString($text, $notices);
        }
        self::assertStringNotContainsString('zstd, inside', $notices);
    }

    public function testTheBillOfMaterialsHasWhatTheNoticesHave(): void
    {
        $bom = json_decode((string) file_get_contents(self::package('toporia_realtime-*.cdx.json')), true);
        self::assertSame(['CycloneDX', self::version()], [$bom['bomFormat'], $bom['metadata']['component']['version']]);
        $names = array_map(static fn (array $one): string => "$one[name] $one[version]", $bom['components']);
        preg_match_all('/^  (\S+ [0-9]\S*) \(/m', self::notices(), $listed);
        self::assertSame([], array_values(array_diff($listed[1], $names)));
        $libraries = preg_grep('/^(librdkafka|zstd|zlib|rust-std) [0-9.]+$/', $names);
        self::assertCount(3, $libraries, implode(', ', $libraries));
        $references = array_column($bom['components'], 'bom-ref');
        self::assertSame($references, array_values(array_unique($references)));
        foreach ($bom['dependencies'] as $dependency) {
            self::assertSame([], array_diff($dependency['dependsOn'], $references), $dependency['ref']);
        }
        // The root and a component that is needed by another, as a scanner reads them.
        self::assertContains('pkg:cargo/rdkafka@' . self::versionOf($bom, 'rdkafka'), $bom['dependencies'][0]['dependsOn']);
    }

    /** @param array<string, mixed> $bom */
    private static function versionOf(array $bom, string $name): string
    {
        return array_column($bom['components'], 'version', 'name')[$name];
    }

    public function testWithMuslZstdIsAmongTheLibrariesInside(): void
    {
        $command = [PHP_BINARY, '-n', self::root() . '/packaging/licences.php', 'x86_64-unknown-linux-musl'];
        [$status, $notices, $errors] = self::execute($command, [], json_encode(self::metadata()));
        self::assertSame(0, $status, $errors);
        self::assertStringContainsString('zstd, inside zstd-sys', $notices);
        self::assertStringContainsString('Meta Platforms', $notices);
        $command = [PHP_BINARY, '-n', self::root() . '/packaging/sbom.php', 'x86_64-unknown-linux-musl', '1.95.0'];
        [$status, $bom, $errors] = self::execute($command, ['SOURCE_DATE_EPOCH' => '1'], json_encode(self::metadata()));
        self::assertSame(0, $status, $errors);
        self::assertStringContainsString('pkg:generic/zstd@', $bom);
    }

    public function testACrateWithoutATextStopsThePackage(): void
    {
        $metadata = self::metadata();
        foreach ($metadata['packages'] as &$package) {
            if ($package['name'] === 'tokio') {
                $package['manifest_path'] = self::root() . '/packaging/try/Cargo.toml';
                $package['repository'] = 'https://example.com/nobody-else';
            }
        }
        [$status, , $errors] = self::execute(
            [PHP_BINARY, '-n', self::root() . '/packaging/licences.php', self::platform()],
            [],
            json_encode($metadata)
        );
        self::assertSame(1, $status);
        self::assertMatchesRegularExpression('/the crate tokio \S+ \(MIT\) contains no licence text/', $errors);
    }

    public function testALibraryThatMovedStopsThePackage(): void
    {
        $metadata = self::metadata();
        foreach ($metadata['packages'] as &$package) {
            if ($package['name'] === 'libz-sys') {
                $package['manifest_path'] = self::root() . '/Cargo.toml';
            }
        }
        [$status, , $errors] = self::execute(
            [PHP_BINARY, '-n', self::root() . '/packaging/licences.php', self::platform()],
            [],
            json_encode($metadata)
        );
        self::assertSame(1, $status);
        self::assertStringContainsString('zlib, inside the crate libz-sys', $errors);
    }

    public function testInvalidMetadataIsRefused(): void
    {
        [$status, , $errors] = self::execute([PHP_BINARY, '-n', self::root() . '/packaging/licences.php', self::platform()], [], '{}');
        self::assertSame(1, $status);
        self::assertStringContainsString('cargo metadata', $errors);
    }
}
