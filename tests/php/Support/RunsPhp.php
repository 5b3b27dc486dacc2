<?php

/**
 * Runs PHP in child processes with the extension and the PHP layer, for the behaviour at the end of a process.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\Attributes\After;

trait RunsPhp
{
    /** @var list<ChildProcess> */
    private array $children = [];
    /** @var list<string> */
    private array $scripts = [];

    /**
     * Additional environment of a child; BrokerTestCase adds broker, prefix and group.
     *
     * @return array<string, string|null>
     */
    protected function childEnvironment(): array
    {
        return [];
    }

    /**
     * Runs a snippet of PHP (no opening tag needed) to its end.
     *
     *     $this->runPhp('Realtime::broadcast("user.1", "paid");')->assertExit(0);
     *
     * The classes Realtime, Broker, Message and EmbeddedBroker are imported.
     *
     * @param array{env?: array<string, string|null>, ini?: array<string, string>, args?: list<string>, stdin?: string,
     *     cwd?: string, timeout?: float, extension?: bool, layer?: bool,
     *     prefix?: list<string>} $options env: null removes a variable;
     *     timeout: seconds (20); extension: false runs without it; layer: false does not load the PHP layer;
     *     prefix: a program that starts PHP, with its arguments
     */
    protected function runPhp(string $code, array $options = []): ProcessResult
    {
        return $this->startPhp($code, $options)->wait($options['timeout'] ?? 20.0);
    }

    /**
     * Starts a snippet of PHP in the background; options as for runPhp().
     *
     * @param array<string, mixed> $options
     */
    protected function startPhp(string $code, array $options = []): ChildProcess
    {
        $file = (string) tempnam(sys_get_temp_dir(), 'realtime-test-');
        $this->scripts[] = $file;
        $autoload = var_export(self::root() . '/php/autoload.php', true);
        $layer = ($options['layer'] ?? true) ? "require $autoload;" : '';
        $imports = 'use Toporia\Realtime\{Realtime, Broker, Message, EmbeddedBroker};';
        file_put_contents($file, "<?php $imports $layer\n$code\n");

        return $this->startScript($file, $options);
    }

    /**
     * Runs the command line (`./console`) with these arguments to its end; options as for runPhp().
     *
     * @param list<string> $arguments
     * @param array<string, mixed> $options
     */
    protected function runConsole(array $arguments, array $options = []): ProcessResult
    {
        return $this->startConsole($arguments, $options)->wait($options['timeout'] ?? 20.0);
    }

    /**
     * Starts the command line in the background; options as for runPhp().
     *
     * @param list<string> $arguments
     * @param array<string, mixed> $options
     */
    protected function startConsole(array $arguments, array $options = []): ChildProcess
    {
        return $this->startScript(self::root() . '/console', ['args' => $arguments] + $options);
    }

    /**
     * Starts a PHP file in the background; options as for runPhp().
     *
     * @param array<string, mixed> $options
     */
    protected function startScript(string $file, array $options = []): ChildProcess
    {
        $command = [...($options['prefix'] ?? []), PHP_BINARY, ...self::extensionOption($options['extension'] ?? true)];
        // All errors to stderr, so that a test sees them whatever the machine's php.ini says.
        $ini = ['display_errors' => 'stderr', 'error_reporting' => '-1', 'log_errors' => '0'];
        // PHP 8.5 adds backtraces to fatal errors; older versions ignore the setting.
        $ini['fatal_error_backtraces'] = '0';
        foreach (($options['ini'] ?? []) + $ini as $name => $value) {
            array_push($command, '-d', "$name=$value");
        }
        array_push($command, $file, ...($options['args'] ?? []));
        $env = array_filter(
            ($options['env'] ?? []) + $this->childEnvironment() + getenv(),
            static fn (?string $value) => $value !== null
        );

        return $this->children[] = new ChildProcess($command, $env, $options['cwd'] ?? null, $options['stdin'] ?? '');
    }

    /**
     * Kills running children and removes the snippets.
     *
     * @after
     */
    #[After]
    protected function endChildren(): void
    {
        foreach ($this->children as $child) {
            $child->destroy();
        }
        array_map('unlink', $this->scripts);
        $this->children = $this->scripts = [];
    }

    protected static function root(): string
    {
        return dirname(__DIR__, 3);
    }

    /** @return list<string> */
    private static function extensionOption(bool $wanted): array
    {
        $extension = getenv('REALTIME_EXTENSION') ?: self::root() . '/target/release/libtoporia_realtime.so';

        return $wanted && extension_loaded('toporia_realtime') ? ['-d', "extension=$extension"] : [];
    }
}
