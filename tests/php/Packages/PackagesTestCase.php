<?php

/**
 * Builds the packages once, from the library under test, and inspects them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Packages;

use PharData;
use PHPUnit\Framework\TestCase;
use RecursiveIteratorIterator;
use Toporia\Realtime\Tests\Support\RunsPhp;

abstract class PackagesTestCase extends TestCase
{
    use RunsPhp;

    /** The directory of this run's packages; built once for all classes. */
    private static string $packages = '';

    protected static function packages(): string
    {
        if (self::$packages === '') {
            $folder = sys_get_temp_dir() . '/realtime-packages-' . getmypid();
            $extension = getenv('REALTIME_EXTENSION') ?: self::root() . '/target/release/libtoporia_realtime.so';
            [$status, , $errors] = self::execute(
                // By a user whose new files are private.
                [
                    'sh', '-c', 'umask 077; exec "$@"', 'sh',
                    self::root() . '/tools/package.sh', "--extension=$extension", "--output=$folder",
                ],
                ['PHP' => PHP_BINARY]
            );
            self::assertSame(0, $status, $errors);
            self::$packages = $folder;
        }

        return self::$packages;
    }

    /** The only package whose name matches. */
    protected static function package(string $pattern): string
    {
        $found = glob(self::packages() . "/$pattern") ?: [];
        self::assertCount(1, $found, $pattern . ' among ' . implode(', ', scandir(self::packages()) ?: []));

        return $found[0];
    }

    /** Cargo.toml's version, read here, not by the script under test. */
    protected static function version(): string
    {
        self::assertSame(
            1,
            preg_match('/^version = "(.*)"$/m', (string) file_get_contents(self::root() . '/Cargo.toml'), $match)
        );

        return $match[1];
    }

    protected static function phpVersion(): string
    {
        return PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION;
    }

    /**
     * The files in an archive, as Composer (and so PIE) finds them.
     *
     * @return list<string>
     */
    protected static function entries(string $archive): array
    {
        $files = [];
        foreach (new RecursiveIteratorIterator(new PharData($archive)) as $file) {
            $files[] = substr($file->getPathname(), strlen("phar://$archive/"));
        }
        sort($files);

        return $files;
    }

    /**
     * The files in an archive of any depth: PharData cannot read the longest names that tar writes.
     *
     * @return list<string>
     */
    protected static function listed(string $archive): array
    {
        $entries = explode("\n", trim(self::execute(['tar', '-tzf', $archive])[1]));

        return array_values(array_filter($entries, static fn (string $entry): bool => !str_ends_with($entry, '/')));
    }

    /**
     * @param list<string> $command
     * @param array<string, string> $env beside this process's own
     *
     * @return array{int, string, string} exit code, standard output, standard error
     */
    protected static function execute(array $command, array $env = [], ?string $stdin = null, ?string $cwd = null): array
    {
        $errors = tmpfile();
        $input = tmpfile();
        fwrite($input, (string) $stdin);
        rewind($input);
        $process = proc_open($command, [$input, ['pipe', 'w'], $errors], $pipes, $cwd, $env + getenv());
        $output = (string) stream_get_contents($pipes[1]);
        fclose($pipes[1]);
        $status = proc_close($process);
        rewind($errors);

        return [$status, $output, (string) stream_get_contents($errors)];
    }
}
