<?php

/**
 * config(), env() and the command signature, where no framework provides them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Polyfill;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Polyfill\CommandInput;
use Toporia\Realtime\Polyfill\ConfigFiles;
use Toporia\Realtime\Polyfill\Signature;

final class ConfigurationHelpersEmbeddedTest extends TestCase
{
    private string $app;

    protected function setUp(): void
    {
        $this->app = sys_get_temp_dir() . '/realtime-settings-' . bin2hex(random_bytes(4));
        mkdir("$this->app/config", 0700, true);
        file_put_contents("$this->app/config/shop.php", '<?php return ["vat" => ["de" => 19], "none" => null];');
        ConfigFiles::useDirectory($this->app);
    }

    protected function tearDown(): void
    {
        ConfigFiles::useDirectory((string) getcwd());
        unlink("$this->app/config/shop.php");
        rmdir("$this->app/config");
        rmdir($this->app);
    }

    public function testConfigReadsTheFilesOfTheApplication(): void
    {
        self::assertSame(19, ConfigFiles::get('shop.vat.de'));
        self::assertSame(['de' => 19], ConfigFiles::get('shop.vat'));
        self::assertSame('x', ConfigFiles::get('shop.vat.fr', 'x'));
        self::assertSame('x', ConfigFiles::get('shop.none', 'x'));
        self::assertSame('x', ConfigFiles::get('other.key', 'x'));
        self::assertNull(ConfigFiles::get('../config/shop'));
    }

    public function testEnvTurnsWordsIntoValues(): void
    {
        foreach (['true' => true, '(false)' => false, 'null' => null, 'empty' => '', '"two words"' => 'two words'] as $text => $value) {
            $_ENV['REALTIME_SETTING'] = $text;
            self::assertSame($value, ConfigFiles::env('REALTIME_SETTING', 'default'));
        }
        unset($_ENV['REALTIME_SETTING']);
        self::assertSame('default', ConfigFiles::env('REALTIME_SETTING', 'default'));
    }

    public function testSignatures(): void
    {
        $signature = Signature::parse("orders:import\n    {file : Where they are}\n {to=here} {more?*} {--dry} {--m|mode=fast : How}"
            . ' {--channels=*} {--group=}');
        self::assertSame('orders:import', $signature->name);
        self::assertSame(['file', 'to', 'more'], array_keys($signature->arguments));
        self::assertSame(
            ['list' => false, 'default' => null, 'help' => 'Where they are', 'required' => true],
            $signature->arguments['file']
        );
        self::assertSame('here', $signature->arguments['to']['default']);
        self::assertSame(['m', 'fast'], [$signature->options['mode']['short'], $signature->options['mode']['default']]);

        $input = new CommandInput($signature, ['channels' => ['a,b', ' c '], 'dry' => true], ['file' => 'x.csv']);
        self::assertSame(['a', 'b', 'c'], $input->getOption('channels'));
        self::assertSame([true, 'fast', 'none'], [
            $input->getOption('dry'),
            $input->getOption('mode'),
            $input->getOption('group', 'none'),
        ]);
        self::assertSame(['x.csv', 'x.csv', 'here'], [
            $input->getArgument('file'),
            $input->getArgument(0),
            $input->getArgument('to'),
        ]);
        self::assertSame([], CommandInput::of('x {--channels=*}')->getOption('channels'));

        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage("has to begin with its name, such as 'orders:consume {--channels=*}'");
        Signature::parse('{--only=options}');
    }
}
