<?php

/**
 * The message for a PHP without the extension, with the real library in the wrong place or from another build.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Polyfill;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ProcessResult;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class MissingExtensionEmbeddedTest extends TestCase
{
    use RunsPhp;

    private string $directory;

    protected function setUp(): void
    {
        $this->directory = sys_get_temp_dir() . '/realtime-without-' . bin2hex(random_bytes(4));
        mkdir("$this->directory/ext", 0700, true);
        mkdir("$this->directory/ini");
    }

    protected function tearDown(): void
    {
        @unlink("$this->directory/ext/toporia_realtime.so");
        @unlink("$this->directory/ini/realtime.ini");
        array_map('rmdir', ["$this->directory/ext", "$this->directory/ini", $this->directory]);
    }

    public function testInstalledAndNotEnabled(): void
    {
        $this->install();
        self::assertStringContainsString(
            "$this->directory/ext/toporia_realtime.so is installed but not enabled",
            $this->broadcast()->stdout
        );
    }

    public function testEnabledAndBuiltForAnotherPhp(): void
    {
        preg_match('/API(\d{8}),N?TS/', $this->library(), $build);
        $this->install(str_replace($build[1], '20991231', $this->library()));
        file_put_contents("$this->directory/ini/realtime.ini", "extension=toporia_realtime\n");
        $said = $this->broadcast()->stdout;
        self::assertStringContainsString("$this->directory/ini/realtime.ini enables it, but ", $said);
        self::assertStringContainsString("is built for another PHP: it is API20991231,", $said);
        self::assertMatchesRegularExpression("/this one is API$build[1],N?TS\\. Run `/", $said);
    }

    public function testEnabledAndMissing(): void
    {
        file_put_contents("$this->directory/ini/realtime.ini", "extension=toporia_realtime\n");
        self::assertMatchesRegularExpression('/but \S+ is not there: run `/', $this->broadcast()->stdout);
    }

    public function testTheConsoleAndTheGuidesCodeReportItToo(): void
    {
        $this->install();
        $environment = ['extension' => false, 'ini' => ['extension_dir' => "$this->directory/ext"]];
        // Prevents a restart: the console of a checkout would use an existing build.
        $second = ['ini' => $environment['ini'] + ['toporia_realtime_rerun' => '1']];
        $console = $this->runConsole(['realtime:kafka:publish', 'user.1', 'hello', '{}'], $second + $environment + [
            'env' => $this->environment(),
            'cwd' => $this->directory,
        ]);
        self::assertSame(1, $console->exitCode, $console->describe());
        self::assertStringContainsString('is installed but not enabled', $console->stderr);

        $guide = $this->runPhp(
            'try { realtime()->broadcast("user.1", "hello", 1); } catch (Throwable $e) { echo $e->getMessage(); }',
            $environment + ['env' => $this->environment()]
        );
        self::assertStringContainsString('is installed but not enabled', $guide->stdout);
    }

    private function broadcast(): ProcessResult
    {
        return $this->runPhp(
            'try { Realtime::broadcast("user.1", "hello"); } catch (RuntimeException $e) { echo $e->getMessage(); }',
            [
                'extension' => false,
                'env' => $this->environment(),
                'ini' => ['extension_dir' => "$this->directory/ext", 'display_startup_errors' => '0'],
            ]
        );
    }

    /** @return array<string, string> */
    private function environment(): array
    {
        return ['PHP_INI_SCAN_DIR' => "$this->directory/ini"];
    }

    private function install(?string $library = null): void
    {
        file_put_contents("$this->directory/ext/toporia_realtime.so", $library ?? $this->library());
    }

    private function library(): string
    {
        $file = getenv('REALTIME_EXTENSION') ?: self::root() . '/target/release/libtoporia_realtime.so';

        return (string) file_get_contents($file);
    }
}
