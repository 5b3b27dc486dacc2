<?php

/**
 * A private PHP-FPM with Debian's defaults, on a unix socket; and a minimal FastCGI client.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use RuntimeException;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class FpmServer
{
    public readonly string $socket;
    private ChildProcess $process;

    /**
     * Starts it and waits until it responds.
     *
     * @param string $directory a directory of the test's, to which everything goes
     * @param string $code what every request runs (no opening tag)
     * @param array<string, string> $environment `env[...]` of the pool
     * @param array<string, string> $ini `php_admin_value[...]` of the pool
     */
    public function __construct(
        private readonly string $directory,
        string $extension,
        string $code,
        array $environment = [],
        array $ini = [],
        int $workers = 2,
        string $more = ''
    ) {
        $this->socket = "$directory/fpm.sock";
        file_put_contents("$directory/index.php", '<?php use Toporia\Realtime\{Realtime, Broker, Message};' . $code);
        file_put_contents("$directory/fpm.conf", $this->configuration($environment, $ini, $workers, $more));
        chmod($directory, 0777);
        $program = self::program();
        $command = [$program, '-F', '-y', "$directory/fpm.conf", '-d', "extension=$extension"];
        $this->process = new ChildProcess($command, getenv());
        for ($i = 0; $i < 200 && !$this->answers(); $i++) {
            usleep(50_000);
        }
        if (!$this->answers()) {
            throw new RuntimeException('PHP-FPM did not start: ' . $this->log() . $this->process->stderr());
        }
    }

    /**
     * One request: its output, and the seconds until the response was complete. Null if the worker exited.
     *
     * @return array{string, float}|null
     */
    public function request(string $query = ''): ?array
    {
        return self::ask($this->socket, "$this->directory/index.php", $query);
    }

    /**
     * SIGUSR2 (12): the master restarts with new workers; SIGQUIT (3): graceful stop.
     */
    public function signal(int $signal): void
    {
        posix_kill($this->process->pid(), $signal);
    }

    public function isRunning(): bool
    {
        return $this->process->isRunning();
    }

    /**
     * The contents of FPM's log and of PHP's error log.
     */
    public function log(): string
    {
        return implode('', array_map('file_get_contents', glob("$this->directory/*.log") ?: []));
    }

    /**
     * Stops it like `systemctl stop`, by force after a timeout. With FPM's default process_control_timeout of 0 its
     * workers are killed immediately, so they first get the time that the flush after a response takes.
     */
    public function stop(): void
    {
        if ($this->process->isRunning()) {
            usleep(300_000);
            $this->signal(15);
            $this->process->wait(5.0);
        }
        $this->process->destroy();
    }

    /** @return array{string, float}|null */
    public static function ask(string $socket, string $script, string $query): ?array
    {
        $start = microtime(true);
        $stream = @stream_socket_client("unix://$socket", $code, $error, 5.0);
        if ($stream === false) {
            return null;
        }
        stream_set_timeout($stream, 20);
        $parameters = '';
        foreach (
            ['SCRIPT_FILENAME' => $script, 'REQUEST_METHOD' => 'GET', 'QUERY_STRING' => $query,
                'SERVER_PROTOCOL' => 'HTTP/1.1', 'REQUEST_URI' => "/?$query"] as $name => $value
        ) {
            $parameters .= pack('CN', strlen($name), strlen($value) | 0x80000000) . $name . $value;
        }
        $record = static fn (int $type, string $content) => pack('CCnnxx', 1, $type, 1, strlen($content)) . $content;
        @fwrite($stream, $record(1, pack('nCx5', 1, 0)) . $record(4, $parameters) . $record(4, '') . $record(5, ''));
        $output = '';
        while (($header = self::read($stream, 8)) !== null) {
            ['type' => $type, 'length' => $length, 'padding' => $padding] = (array) unpack(
                'Cversion/Ctype/nid/nlength/Cpadding',
                $header
            );
            $content = (string) self::read($stream, $length + $padding);
            if ($type === 6) {
                $output .= substr($content, 0, $length);
            } elseif ($type === 3) {
                fclose($stream);

                return [explode("\r\n\r\n", $output, 2)[1] ?? '', microtime(true) - $start];
            }
        }
        fclose($stream);

        return null;
    }

    /** @param resource $stream */
    private static function read($stream, int $length): ?string
    {
        $bytes = '';
        while (strlen($bytes) < $length) {
            $more = fread($stream, $length - strlen($bytes));
            if ($more === false || $more === '') {
                return null;
            }
            $bytes .= $more;
        }

        return $bytes;
    }

    /**
     * @param array<string, string> $environment
     * @param array<string, string> $ini
     */
    private function configuration(array $environment, array $ini, int $workers, string $more): string
    {
        // catch_workers_output and clear_env keep their defaults, as in Debian's own pool.
        $lines = ['[global]', "error_log = $this->directory/fpm.log", '[www]', "listen = $this->socket",
            'pm = static', "pm.max_children = $workers", "php_admin_value[error_log] = $this->directory/php.log",
            'php_admin_flag[log_errors] = on'];
        if (posix_getuid() === 0) {
            array_push($lines, 'user = www-data', 'group = www-data');
        }
        foreach ($environment as $name => $value) {
            $lines[] = "env[$name] = \"$value\"";
        }
        foreach ($ini as $name => $value) {
            $lines[] = "php_admin_value[$name] = \"$value\"";
        }

        return implode("\n", [...$lines, $more, '']);
    }

    private function answers(): bool
    {
        return file_exists($this->socket) && is_resource(@stream_socket_client("unix://$this->socket"));
    }

    private static function program(): string
    {
        $version = PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION;
        foreach (["/usr/sbin/php-fpm$version", '/usr/sbin/php-fpm', '/usr/local/sbin/php-fpm'] as $program) {
            if (is_executable($program)) {
                return $program;
            }
        }
        throw new RuntimeException("PHP-FPM is missing. Install it: make setup (Debian: php$version-fpm)");
    }
}
