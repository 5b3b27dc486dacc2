<?php

/**
 * The mark by which realtime:restart tells running workers to finish and exit.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Exception\ConfigurationException;

/**
 * A file whose content changes with every restart: the time, and something random.
 *
 * By default it lies in the system's temporary directory, one for each user, application and working directory. Workers
 * that run as another user, on another machine or under systemd's PrivateTmp need `restart_file` in the configuration.
 */
final class RestartSignal
{
    /**
     * @param bool $ownOnly a mark counts only if this user or root has set it: for a directory that everybody may write
     */
    public function __construct(private string $file, private bool $ownOnly = false)
    {
    }

    /**
     * The one of an application.
     *
     * @param array<string, mixed> $config `restart_file` names the file; `application` goes into the default name
     * @param string $directory where the application lives
     *
     * @throws ConfigurationException `restart_file` is no path
     */
    public static function of(array $config, string $directory): self
    {
        $file = $config['restart_file'] ?? '';
        if (!is_string($file)) {
            throw new ConfigurationException(
                'restart_file is a ' . get_debug_type($file) . '; it is the path of a file.'
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

    public function file(): string
    {
        return $this->file;
    }

    /**
     * Sets the mark: every worker that reads this file and is running now will stop.
     *
     * @throws ConfigurationException the file cannot be written
     */
    public function set(): void
    {
        $mark = sprintf("%.6f %s\n", microtime(true), bin2hex(random_bytes(8)));
        $temporary = $this->file . '.' . bin2hex(random_bytes(4));
        // Renamed into place, so that no worker reads half a mark and no link that lies there is followed.
        if (@file_put_contents($temporary, $mark) === false || !@rename($temporary, $this->file)) {
            $why = error_get_last()['message'] ?? 'unknown reason';
            @unlink($temporary);
            throw new ConfigurationException(
                "Cannot write the restart mark $this->file ($why). Set restart_file in config/realtime.php to a file "
                . 'that this user may write and the workers may read.'
            );
        }
        // Workers may run as another user where restart_file is shared.
        @chmod($this->file, 0644);
    }

    /**
     * The mark as it is now; null: none was ever set.
     */
    public function current(): ?string
    {
        clearstatcache(true, $this->file);
        if (!is_file($this->file) || !$this->isTrusted()) {
            return null;
        }
        $mark = @file_get_contents($this->file, false, null, 0, 100);

        return $mark === false || $mark === '' ? null : $mark;
    }

    private function isTrusted(): bool
    {
        return !$this->ownOnly || !function_exists('posix_geteuid')
            || in_array(@fileowner($this->file), [posix_geteuid(), 0], true);
    }
}
