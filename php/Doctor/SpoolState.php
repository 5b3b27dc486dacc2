<?php

/**
 * The content of a spool directory, read without modifying it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor;

/**
 * `<spool>/<application-prefix-broker-hash>/<nanoseconds>-<pid>.spool`, `failed/*.jsonl`, `damaged/*`. A file's header
 * holds the numbers of records written and sent; its name holds its start time.
 */
final class SpoolState
{
    private const HEAD = 64;

    public int $messages = 0;
    public int $bytes = 0;
    public int $failed = 0;
    public int $damaged = 0;
    public string $failedDirectory = '';
    public string $damagedDirectory = '';
    /** @var list<string> directories that this user cannot read */
    public array $unreadable = [];
    private ?int $oldest = null;
    private ?int $oldestOrphan = null;

    public function __construct(public readonly string $directory)
    {
        foreach (glob("$directory/*", GLOB_ONLYDIR) ?: [] as $place) {
            if (!is_readable($place)) {
                $this->unreadable[] = $place;
                continue;
            }
            foreach (glob("$place/*.spool") ?: [] as $file) {
                $this->file($file);
            }
            $this->countSetAside($place);
        }
    }

    /** Age of the oldest waiting message in seconds; null if none is waiting. */
    public function age(): ?int
    {
        return $this->oldest === null ? null : max(0, time() - $this->oldest);
    }

    /** Same as age(), for files that no running process holds. */
    public function orphanAge(): ?int
    {
        return $this->oldestOrphan === null ? null : max(0, time() - $this->oldestOrphan);
    }

    private function file(string $file): void
    {
        $handle = @fopen($file, 'r');
        if ($handle === false) {
            return;
        }
        $head = (string) fread($handle, self::HEAD);
        $waiting = strlen($head) === self::HEAD && str_starts_with($head, 'TRSPOOL1')
            ? max(0, unpack('P', substr($head, 48, 8))[1] - unpack('P', substr($head, 32, 8))[1])
            : 0;
        $held = !flock($handle, LOCK_SH | LOCK_NB);
        fclose($handle);
        $this->bytes += (int) @filesize($file);
        if ($waiting === 0) {
            return;
        }
        $this->messages += $waiting;
        $since = (int) substr(basename($file), 0, 20) / 1_000_000_000;
        $this->oldest = (int) min($this->oldest ?? PHP_INT_MAX, $since);
        if (!$held) {
            $this->oldestOrphan = (int) min($this->oldestOrphan ?? PHP_INT_MAX, $since);
        }
    }

    private function countSetAside(string $place): void
    {
        foreach (glob("$place/failed/*.jsonl") ?: [] as $file) {
            $lines = substr_count((string) @file_get_contents($file, length: 8 << 20), "\n");
            $this->failed += $lines;
            $this->failedDirectory = "$place/failed";
        }
        foreach (glob("$place/damaged/*") ?: [] as $file) {
            if (!str_ends_with($file, '.txt')) {
                $this->damaged++;
                $this->damagedDirectory = "$place/damaged";
            }
        }
    }
}
