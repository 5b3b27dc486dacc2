<?php

/**
 * Who has no extension is told which case it is and which command fixes it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Unit\Twins;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Support\ExtensionMissing;

final class ExtensionMissingTest extends TestCase
{
    private string $root;

    protected function setUp(): void
    {
        $this->root = sys_get_temp_dir() . '/realtime-missing-' . bin2hex(random_bytes(4));
        mkdir($this->root . '/target/release', 0700, true);
        mkdir($this->root . '/ext');
    }

    protected function tearDown(): void
    {
        $files = ['Cargo.toml', 'ext/toporia_realtime.so', 'target/release/libtoporia_realtime.so'];
        foreach ($files as $file) {
            @unlink("$this->root/$file");
        }
        foreach (['/target/release', '/target', '/ext', ''] as $directory) {
            rmdir($this->root . $directory);
        }
    }

    public function testInstalledPackageWithoutTheExtension(): void
    {
        $text = $this->explain('cli', '/etc/php.ini');
        self::assertStringContainsString('Realtime::broadcast() needs the PHP extension toporia_realtime', $text);
        self::assertStringContainsString('cli, /etc/php.ini', $text);
        self::assertStringContainsString('`pie install toporia/realtime-ext`', $text);
    }

    public function testInstalledButNotEnabledForThisSapi(): void
    {
        touch($this->root . '/ext/toporia_realtime.so');
        $text = $this->explain('fpm-fcgi', '/etc/php/fpm/php.ini');
        self::assertStringContainsString(
            'put the line "extension=toporia_realtime" into /etc/php/fpm/php.ini and restart php-fpm',
            $text
        );
        self::assertStringContainsString('into a php.ini.', $this->explain('cli', null));
    }

    public function testBuiltInTheCheckoutButNotLoaded(): void
    {
        touch($this->root . '/Cargo.toml');
        self::assertStringContainsString('not built yet: run `make install`', $this->explain('cli', null));
        touch($this->root . '/target/release/libtoporia_realtime.so');
        $text = $this->explain('cli', null);
        self::assertStringContainsString('is built but not loaded: run `make install`', $text);
        self::assertStringContainsString("-d extension=$this->root/target/release/libtoporia_realtime.so", $text);
    }

    private function explain(string $sapi, ?string $ini): string
    {
        return (new ExtensionMissing($this->root . '/ext', $this->root, $sapi, $ini))->explain('Realtime::broadcast()');
    }
}
