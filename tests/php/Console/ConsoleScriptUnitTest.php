<?php

/**
 * ./console as run from a shell: configuration in the working directory, exit codes, the missing extension.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ProcessResult;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class ConsoleScriptUnitTest extends TestCase
{
    use RunsPhp;

    private string $directory;

    protected function setUp(): void
    {
        $this->directory = sys_get_temp_dir() . '/realtime-app-' . bin2hex(random_bytes(6));
        mkdir($this->directory . '/config', 0700, true);
    }

    protected function tearDown(): void
    {
        foreach (['config/realtime.php', 'vendor/autoload.php', 'mark'] as $file) {
            @unlink("$this->directory/$file");
        }
        foreach (['/config', '/vendor', ''] as $directory) {
            @rmdir($this->directory . $directory);
        }
    }

    public function testItListsItsCommandsWithoutConfiguration(): void
    {
        $result = $this->console(['list', '--raw'])->assertExit();
        self::assertStringContainsString('realtime:kafka:consume', $result->stdout);
    }

    public function testTheConfigurationOfTheWorkingDirectoryIsRead(): void
    {
        $this->configure("['restart_file' => " . var_export($this->directory . '/mark', true) . ']');
        $this->console(['realtime:restart'])->assertExit();
        self::assertFileExists($this->directory . '/mark');
    }

    public function testACommandOfTheApplicationPrintsItsTextAndFailsWithAnyCode(): void
    {
        $this->configure(<<<'PHP'
            ['commands' => [new class extends Toporia\Framework\Console\Command {
                protected string $signature = 'app:own';

                public function handle(): int
                {
                    $this->info('App\\');
                    $this->success('C:\\\\');
                    $this->warn('plain');

                    return 256;
                }
            }]]
            PHP);
        $result = $this->console(['app:own'])->assertExit(255);
        self::assertSame(['App\\', 'C:\\\\', 'plain'], $result->lines(), $result->describe());
    }

    public function testTheAutoloaderOfTheWorkingDirectoryIsLoaded(): void
    {
        mkdir($this->directory . '/vendor');
        file_put_contents($this->directory . '/vendor/autoload.php', <<<'PHP'
            <?php
            final class AppCommand extends Symfony\Component\Console\Command\Command
            {
                protected function configure(): void
                {
                    $this->setName('app:own');
                }
            }
            PHP);
        // Classes of the application may need Symfony before the PHP layer has found it.
        $symfony = "require_once '/usr/share/php/Symfony/Component/Console/autoload.php';";
        $file = $this->directory . '/vendor/autoload.php';
        file_put_contents($file, str_replace('<?php', "<?php $symfony", (string) file_get_contents($file)));
        $this->configure("['commands' => [AppCommand::class]]");
        self::assertStringContainsString('app:own', $this->console(['list', '--raw'])->assertExit()->stdout);
    }

    /** @dataProvider brokenConfigurations */
    #[DataProvider('brokenConfigurations')]
    public function testABrokenConfigurationIsNamed(string $code, string $text): void
    {
        file_put_contents($this->directory . '/config/realtime.php', "<?php\n" . $code);
        $result = $this->console(['list'])->assertExit(2);
        self::assertStringContainsString($text, $result->stderr);
        self::assertStringContainsString('config/realtime.php', $result->stderr);
    }

    /** @return array<string, array{string, string}> */
    public static function brokenConfigurations(): array
    {
        return [
            'no array' => ['return 5;', 'returned int; it must return an array'],
            'nothing' => ['', 'it must return an array'],
            'a syntax error' => ['return [;', 'failed: syntax error'],
            'a throw' => ['throw new Exception("no secrets");', 'failed: no secrets (line 2'],
            'a missing function' => ['return [not_there("X")];', 'failed: Call to undefined function not_there()'],
        ];
    }

    public function testOnlyTheDoctorRunsWithARefusedConfiguration(): void
    {
        $this->configure('5');
        $this->console(['--ansi', 'realtime:doctor', '--timeout=100'])->assertExit(1);
        // Its settings are those of another Kafka: the environment and the defaults.
        foreach ([['realtime:kafka:publish', 'user.1', 'realtime:doctor'], ['realtime:restart', 'realtime:doctor']] as $other) {
            $result = $this->console($other)->assertExit(2);
            self::assertStringContainsString('must return an array', $result->stderr);
        }
    }

    public function testWrongUsageGoesToStandardError(): void
    {
        $result = $this->console(['realtime:kafka:consume', '--channels'])->assertExit(2);
        self::assertSame('', $result->stdout);
        self::assertStringContainsString('The "--channels" option requires a value.', $result->stderr);
        $result = $this->console(['realtime:kafka:consume', '--channels=a', '--timeout', '-5'])->assertExit(2);
        self::assertStringContainsString('--timeout', $result->stderr);
        $result = $this->console(['realtime:kafka:consume', '--channels=a', '--stop-when-empty=yes'])->assertExit(2);
        self::assertStringContainsString('"--stop-when-empty" option does not accept a value', $result->stderr);
    }

    public function testWithoutTheExtensionItReportsTheMissingExtension(): void
    {
        foreach (
            [
                ['realtime:kafka:consume', '--channels=a'],
                ['realtime:kafka:publish', 'a', 'b', '1'],
                ['realtime:kafka:dev'],
            ] as $arguments
        ) {
            $result = $this->console($arguments, ['extension' => false])->assertExit(1);
            self::assertSame('', $result->stdout);
            self::assertStringContainsString('needs the PHP extension toporia_realtime', $result->stderr);
        }
    }

    public function testWithoutTheExtensionOtherCommandsWork(): void
    {
        $this->configure("['restart_file' => " . var_export($this->directory . '/mark', true) . ']');
        $this->console(['list'], ['extension' => false])->assertExit();
        $this->console(['realtime:restart'], ['extension' => false])->assertExit();
    }

    /**
     * @param list<string> $arguments
     * @param array<string, mixed> $options
     */
    private function console(array $arguments, array $options = []): ProcessResult
    {
        // The setting keeps the console from searching for a build of the extension.
        $options += ['cwd' => $this->directory, 'ini' => ['toporia_realtime_rerun' => '1']];

        return $this->runConsole($arguments, $options);
    }

    private function configure(string $array): void
    {
        file_put_contents($this->directory . '/config/realtime.php', "<?php\n\nreturn $array;\n");
    }
}
