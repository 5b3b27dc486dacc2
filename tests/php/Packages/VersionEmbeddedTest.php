<?php

/**
 * One version everywhere, and a check that detects a deviating one.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Packages;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Support\Version;

final class VersionEmbeddedTest extends PackagesTestCase
{
    private const PLACES = [
        'Cargo.toml', 'Cargo.lock', 'CHANGELOG.md', 'composer.json', 'packaging/pie/composer.json',
        'php/Support/Version.php', 'clients/js/package.json',
    ];

    private string $copy = '';

    protected function setUp(): void
    {
        $this->copy = sys_get_temp_dir() . '/realtime-version-' . getmypid();
        self::execute(['rm', '-rf', $this->copy]);
        foreach ([...self::PLACES, 'tools/common.sh', 'tools/version.sh'] as $path) {
            @mkdir(dirname("$this->copy/$path"), 0777, true);
            copy(self::root() . "/$path", "$this->copy/$path");
        }
        chmod("$this->copy/tools/version.sh", 0755);
    }

    protected function tearDown(): void
    {
        self::execute(['rm', '-rf', $this->copy]);
    }

    private function change(string $path, string $pattern, string $replacement): void
    {
        $before = (string) file_get_contents("$this->copy/$path");
        $after = (string) preg_replace($pattern, $replacement, $before, 1);
        self::assertNotSame($before, $after, "$path has nothing like $pattern");
        file_put_contents("$this->copy/$path", $after);
    }

    public function testTheExtensionAndTheLayerHaveIt(): void
    {
        self::assertSame(self::version(), phpversion('toporia_realtime'), 'the extension that is loaded');
        self::assertSame(self::version(), Version::NUMBER, 'the PHP layer');
        self::assertSame(self::version(), Version::ofExtension());
        self::assertTrue(Version::matches());
    }

    public function testEveryPlaceHasIt(): void
    {
        [$status, $output, $errors] = self::execute([self::root() . '/tools/version.sh']);
        self::assertSame([0, self::version() . "\n"], [$status, $output], $errors);
    }

    /** @dataProvider differences */
    #[DataProvider('differences')]
    public function testADifferentNumberAnywhereIsDetected(string $path, string $pattern, string $replacement, string $said): void
    {
        $this->change($path, $pattern, $replacement);
        [$status, , $errors] = self::execute(["$this->copy/tools/version.sh"]);
        self::assertSame(1, $status);
        self::assertStringContainsString($said, $errors);
    }

    /** @return array<string, array{string, string, string, string}> */
    public static function differences(): array
    {
        return [
            'PHP layer' => ['php/Support/Version.php', "/NUMBER = '.*'/", "NUMBER = '9.9.9'", "Version.php has '9.9.9'"],
            'JavaScript' => ['clients/js/package.json', '/"version": ".*"/', '"version": "9.9.9"', "package.json has '9.9.9'"],
            'Cargo.lock' => ['Cargo.lock', '/(name = "toporia_realtime"\nversion = ").*"/', '${1}9.9.9"', "Cargo.lock has '9.9.9'"],
            'changelog' => ['CHANGELOG.md', '/^## \[\d.*?\]/m', '## [9.9.9]', "CHANGELOG.md has '9.9.9'"],
            'composer.json' => ['composer.json', '/^{\n/', "{\n    \"version\": \"9.9.9\",\n", 'composer.json has a "version" key'],
            'PIE' => ['packaging/pie/composer.json', '/^{\n/', "{\n    \"version\": \"9.9.9\",\n", 'pie/composer.json has a "version" key'],
        ];
    }

    public function testANewVersionIsWrittenEverywhere(): void
    {
        [$status, , $errors] = self::execute(["$this->copy/tools/version.sh", '9.8.7']);
        self::assertSame(1, $status, 'the changelog is a person\'s to write');
        self::assertSame(1, substr_count($errors, " has '"), $errors);
        $this->change('CHANGELOG.md', '/^## \[\d.*?\]/m', '## [9.8.7]');
        [$status, $output, $errors] = self::execute(["$this->copy/tools/version.sh"]);
        self::assertSame([0, "9.8.7\n"], [$status, $output], $errors);
        foreach (['composer.json', 'packaging/pie/composer.json'] as $untouched) {
            self::assertFileEquals(self::root() . "/$untouched", "$this->copy/$untouched");
        }
    }

    public function testAnInvalidVersionIsRefused(): void
    {
        [$status, , $errors] = self::execute(["$this->copy/tools/version.sh", 'v1']);
        self::assertSame(1, $status);
        self::assertStringContainsString("'v1' is not a valid version", $errors);
        self::assertFileEquals(self::root() . '/Cargo.toml', "$this->copy/Cargo.toml");
    }
}
