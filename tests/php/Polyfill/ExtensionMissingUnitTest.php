<?php

/**
 * Without the extension, the message names the cause and the command that fixes it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Polyfill;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Support\ExtensionMissing;

final class ExtensionMissingUnitTest extends TestCase
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
        $files = ['Cargo.toml', 'ext/toporia_realtime.so', 'target/release/libtoporia_realtime.so',
            'enabled.ini', 'other/toporia_realtime.so', $this->debian() . '/toporia_realtime.ini'];
        foreach ($files as $file) {
            @unlink("$this->root/$file");
        }
        $made = ['target/release', 'target', 'ext', 'other', $this->debian(), dirname($this->debian()), ''];
        foreach ($made as $directory) {
            @rmdir("$this->root/$directory");
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

    public function testOnDebianTheCommandThatEnablesItForThisSapi(): void
    {
        touch($this->root . '/ext/toporia_realtime.so');
        mkdir("$this->root/" . $this->debian(), 0700, true);
        touch("$this->root/" . $this->debian() . '/toporia_realtime.ini');
        $version = PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION;
        self::assertStringContainsString(
            "is installed but not enabled for fpm: run `phpenmod -v $version -s fpm toporia_realtime` and restart php-fpm.",
            $this->explain('fpm-fcgi', '/etc/php/fpm/php.ini')
        );
    }

    public function testEnabledButBuiltForAnotherPhp(): void
    {
        file_put_contents("$this->root/enabled.ini", "; realtime\nextension=toporia_realtime.so\n");
        file_put_contents("$this->root/ext/toporia_realtime.so", "\x7fELF…API20230831,NTS\0…");
        $text = $this->explain('cli', null, "/etc/none.ini,\n$this->root/enabled.ini");
        self::assertStringContainsString("$this->root/enabled.ini enables it", $text);
        self::assertStringContainsString('is built for another PHP: it is API20230831,NTS, this one is API20220829,NTS.', $text);
        self::assertMatchesRegularExpression('/Run `pie install --with-php-config=php-config\d\.\d /', $text);

        touch($this->root . '/Cargo.toml');
        $text = $this->explain('cli', "$this->root/enabled.ini");
        self::assertMatchesRegularExpression('/Run `make install PHP=php\d\.\d PHP_CONFIG=php-config\d\.\d` in /', $text);
    }

    public function testEnabledButTheFileIsGoneOrWasNotLoaded(): void
    {
        file_put_contents("$this->root/enabled.ini", "extension = toporia_realtime\n");
        self::assertStringContainsString(
            "/ext/toporia_realtime.so is not there: run `pie install toporia/realtime-ext`.",
            $this->explain('cli', "$this->root/enabled.ini")
        );
        file_put_contents("$this->root/ext/toporia_realtime.so", 'API20220829,NTS');
        self::assertStringContainsString(
            'if it was installed just now, restart php-fpm; else check the output of `php -d display_startup_errors=1 -v`',
            $this->explain('fpm-fcgi', "$this->root/enabled.ini")
        );
        // Commented out is not enabled.
        file_put_contents("$this->root/enabled.ini", ";extension=toporia_realtime\n");
        self::assertStringContainsString('is installed but not enabled', $this->explain('cli', "$this->root/enabled.ini"));
    }

    public function testInstalledForAnotherPhpOnly(): void
    {
        mkdir("$this->root/other");
        touch("$this->root/other/toporia_realtime.so");
        $text = $this->explain('cli', null);
        self::assertStringContainsString("installed for another PHP ($this->root/other/toporia_realtime.so)", $text);
        self::assertStringContainsString("looks in $this->root/ext: run `pie install --with-php-config=", $text);
    }

    public function testTheCheckoutsBuildIsForAnotherPhp(): void
    {
        touch($this->root . '/Cargo.toml');
        file_put_contents("$this->root/target/release/libtoporia_realtime.so", 'API20220829,TS');
        self::assertStringContainsString(
            'is built for another PHP: it is API20220829,TS, this one is API20220829,NTS. Run `make install PHP=',
            $this->explain('cli', null)
        );
    }

    public function testThePhpThatIsRunningIsKnown(): void
    {
        $text = ExtensionMissing::current()->explain('Realtime::broadcast()');
        self::assertStringContainsString('(PHP ' . PHP_VERSION . ', cli, ', $text);
        self::assertStringContainsString('In tests, Realtime::fake() works without it.', $text);
    }

    private function debian(): string
    {
        return PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION . '/mods-available';
    }

    private function explain(string $sapi, ?string $ini, string $more = ''): string
    {
        $missing = new ExtensionMissing(
            $this->root . '/ext',
            $this->root,
            $sapi,
            $ini,
            $more,
            'API20220829,NTS',
            $this->root
        );

        return $missing->explain('Realtime::broadcast()');
    }
}
