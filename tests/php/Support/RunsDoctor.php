<?php

/**
 * Runs realtime:doctor in the directory of a private application.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\Attributes\After;
use PHPUnit\Framework\Attributes\Before;

/**
 * Used by test cases with RunsPhp.
 */
trait RunsDoctor
{
    /** The application's directory. */
    protected string $app = '';

    /** @before */
    #[Before]
    protected function makeApplication(): void
    {
        $this->app = sys_get_temp_dir() . '/realtime-doctor-' . bin2hex(random_bytes(5));
        mkdir("$this->app/config", 0755, true);
    }

    /** @after */
    #[After]
    protected function removeApplication(): void
    {
        LaravelApplication::remove($this->app);
    }

    /**
     * Writes config/realtime.php.
     *
     * @param string $array PHP code of an array
     */
    protected function configure(string $array): void
    {
        file_put_contents("$this->app/config/realtime.php", "<?php\n\nreturn $array;\n");
    }

    /**
     * Runs it with --json; a spool is configured unless the environment overrides it.
     *
     * @param array<string, string|null> $env
     * @param array<string, mixed> $options of runPhp()
     */
    protected function doctor(string $arguments = '', array $env = [], array $options = []): DoctorReport
    {
        return new DoctorReport($this->ask("--json $arguments", $env, $options));
    }

    /**
     * Runs it with these arguments.
     *
     * @param array<string, string|null> $env
     * @param array<string, mixed> $options of runPhp()
     */
    protected function ask(string $arguments = '', array $env = [], array $options = []): ProcessResult
    {
        $words = preg_split('/ +/', trim("realtime:doctor $arguments")) ?: [];
        $options += ['cwd' => $this->app, 'timeout' => 40.0];

        return $this->runConsole($words, ['env' => $env + ['REALTIME_SPOOL' => "$this->app/spool"]] + $options);
    }
}
