<?php

/** Entry point of the plain PHP console: loads autoloaders and configuration, runs a command, returns its exit code. */

declare(strict_types=1);

use Toporia\Realtime\Console\Application;
use Toporia\Realtime\Console\DoctorCommand;
use Toporia\Realtime\Console\PlainHost;
use Toporia\Realtime\Exception\ConfigurationException;

return (static function (): int {
    $root = dirname(__DIR__, 2);
    $directory = getcwd() ?: $root;

    // In a source checkout whose build is not installed, PHP is restarted with that build, so that ./console works
    // right after `make build`. The INI setting marks the second run: if this PHP cannot load the build, the error
    // about the missing extension is shown instead of looping. An installed package never gets here.
    $library = $root . '/target/release/libtoporia_realtime.so';
    $again = extension_loaded('toporia_realtime') || get_cfg_var('toporia_realtime_rerun') !== false;
    if (!$again && is_file($root . '/Cargo.toml') && is_file($library)) {
        // The kernel's command line includes the options given to PHP itself.
        $line = @file_get_contents('/proc/self/cmdline');
        $arguments = $line === false || $line === ''
            ? $_SERVER['argv']
            : array_slice(explode("\0", substr($line, 0, -1)), 1);
        $arguments = ['-d', 'extension=' . $library, '-d', 'toporia_realtime_rerun=1', ...$arguments];
        if (function_exists('pcntl_exec')) {
            pcntl_exec(PHP_BINARY, $arguments);
        }
        // Without pcntl, run it as a child process; Ctrl-C reaches the child too.
        $child = proc_open([PHP_BINARY, ...$arguments], [STDIN, STDOUT, STDERR], $pipes);
        if (is_resource($child)) {
            return proc_close($child);
        }
    }

    // Load the application's autoloader first, so that its versions win.
    $vendor = $GLOBALS['_composer_autoload_path'] ?? $directory . '/vendor/autoload.php';
    if (is_file($vendor)) {
        require_once $vendor;
    }
    require_once dirname(__DIR__) . '/autoload.php';
    if (!class_exists(Symfony\Component\Console\Application::class)) {
        fwrite(STDERR, "The commands need Symfony Console: composer require symfony/console, or on Debian\n"
            . "apt install php-symfony-console\n");

        return 1;
    }

    // Without a terminal Symfony still calls `stty` twice for the size: 30 ms of a worker's start.
    if (!stream_isatty(STDOUT)) {
        foreach (['COLUMNS' => '120', 'LINES' => '50'] as $name => $size) {
            if (getenv($name) === false) {
                putenv("$name=$size");
            }
        }
    }

    try {
        return (new Application(PlainHost::in($directory)))->run();
    } catch (ConfigurationException $e) {
        // The doctor diagnoses a rejected configuration too.
        if (DoctorCommand::isCalled()) {
            return (new Application(PlainHost::forDoctor($directory, $e)))->run();
        }
        fwrite(STDERR, 'Error: ' . $e->getMessage() . "\n");

        return 2;
    }
})();
