<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Closure;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * The file by which realtime:restart requests running workers to finish and exit. Its content changes with every
 * restart: a time and a random value.
 *
 * The default is in the system's temporary directory, one per user, application and working directory. Workers that run
 * as another user, on another machine or under systemd's PrivateTmp need `restart_file` in the configuration.
 */
final class RestartSignal
{
    /** @param bool $ownOnly only trust a file owned by this user or root: for a world-writable directory */
    public function __construct(public readonly string $file, private bool $ownOnly = false)
    {
    }

    /**
     * The restart file of an application.
     *
     * @param array<string, mixed> $config `restart_file` names the file; `application` is part of the default name
     * @param string $directory root directory of the application
     *
     * @throws ConfigurationException `restart_file` is not a path
     */
    public static function of(array $config, string $directory): self
    {
        $file = $config['restart_file'] ?? '';
        if (!is_string($file)) {
            throw new ConfigurationException(
                'restart_file is a ' . get_debug_type($file) . '; it must be the path of a file.'
            );
        }
        if ($file !== '') {
            return new self($file);
        }
        $user = function_exists('posix_geteuid') ? posix_geteuid() : getmyuid();
        $application = is_string($config['application'] ?? null) ? $config['application'] : '';
        $key = substr(hash('sha256', $application . "\0" . $directory), 0, 16);

        return new self(rtrim(sys_get_temp_dir(), '/') . "/toporia-realtime-$user-$key.restart", true);
    }

    /**
     * Signals a restart: every running worker that watches this file will stop.
     *
     * @throws ConfigurationException the file cannot be written
     */
    public function set(): void
    {
        $mark = sprintf("%.6f %s\n", microtime(true), bin2hex(random_bytes(8)));
        $temporary = $this->file . '.' . bin2hex(random_bytes(4));
        // Renamed into place, so that no worker reads a partial file and no existing link is followed.
        if (@file_put_contents($temporary, $mark) === false || !@rename($temporary, $this->file)) {
            $why = error_get_last()['message'] ?? 'unknown reason';
            @unlink($temporary);
            throw new ConfigurationException(
                "Cannot write the restart file $this->file ($why). Set restart_file in config/realtime.php to a file "
                . 'that this user can write and the workers can read.'
            );
        }
        // Workers may run as another user if restart_file is shared.
        @chmod($this->file, 0644);
    }

    /** The current content; null if no restart was ever signalled. */
    public function current(): ?string
    {
        clearstatcache(true, $this->file);
        if (!is_file($this->file) || !$this->isTrusted()) {
            return null;
        }
        $mark = @file_get_contents($this->file, false, null, 0, 100);

        return $mark === false || $mark === '' ? null : $mark;
    }

    /**
     * Stops a worker that starts now if a restart is signalled later. Compares contents instead of times, because the
     * clocks of two machines differ.
     *
     * @return Closure(): ?string
     */
    public function condition(): Closure
    {
        $atStart = $this->current();

        return function () use ($atStart): ?string {
            $now = $this->current();

            return $now !== null && $now !== $atStart ? 'restart' : null;
        };
    }

    private function isTrusted(): bool
    {
        return !$this->ownOnly || !function_exists('posix_geteuid')
            || in_array(@fileowner($this->file), [posix_geteuid(), 0], true);
    }
}
