<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/**
 * One directory of a spool: its owner and its messages, read without modifying them. `<nanoseconds>-<pid>.spool`,
 * `failed/*.jsonl`, `damaged/*`, `about.json`. A file's header holds the numbers of records written and sent; its name
 * holds its start time.
 */
final class SpoolDirectory
{
    private const HEAD = 64;

    public int $messages = 0;
    public int $bytes = 0;
    public int $failed = 0;
    public int $damaged = 0;
    /** @var list<string> */
    public readonly array $brokers;
    public readonly ?string $prefix;
    public readonly ?string $application;
    /** The id of the cluster that the messages are for; null while no process has reached it. */
    public readonly ?string $cluster;
    /** The id of the cluster that may send them too. */
    public readonly ?string $adoptedBy;
    private ?int $oldest = null;
    private ?int $oldestUnheld = null;

    public function __construct(public readonly string $path)
    {
        $about = json_decode((string) @file_get_contents("$path/about.json"), true);
        $about = is_array($about) ? $about : [];
        $text = static fn (string $name): ?string => is_string($about[$name] ?? null) ? $about[$name] : null;
        $this->brokers = array_values(array_filter((array) ($about['brokers'] ?? []), 'is_string'));
        [$this->prefix, $this->application] = [$text('prefix'), $text('application')];
        [$this->cluster, $this->adoptedBy] = [$text('cluster'), $text('adopted_by')];
        foreach (glob("$path/*.spool") ?: [] as $file) {
            $this->file($file);
        }
        foreach (glob("$path/failed/*.jsonl") ?: [] as $file) {
            $this->failed += substr_count((string) @file_get_contents($file, length: 8 << 20), "\n");
        }
        foreach (glob("$path/damaged/*") ?: [] as $file) {
            $this->damaged += str_ends_with($file, '.txt') ? 0 : 1;
        }
    }

    /**
     * True if a process with these settings sends the messages, as the extension decides it.
     *
     * @param array<string, mixed> $settings of Admin::configuration()
     * @param string|null $cluster null: the cluster is not known
     */
    public function isSentBy(array $settings, ?string $cluster): bool
    {
        if ($cluster !== null && $this->adoptedBy === $cluster) {
            return true;
        }
        if ($this->prefix === null) {
            return false;
        }
        $host = static fn (string $address): string => trim(substr((string) strrchr("@$address", '@'), 1));

        return $this->prefix === $settings['topic_prefix']
            && $this->application === $settings['application']
            && ($cluster !== null && $this->cluster !== null ? $cluster === $this->cluster
                : array_intersect($this->brokers, array_map($host, explode(',', $settings['brokers']))) !== []);
    }

    /** Age of the oldest waiting message in seconds; null if none is waiting. */
    public function age(): ?int
    {
        return $this->oldest === null ? null : max(0, time() - $this->oldest);
    }

    /** Same as age(), for files that no running process holds. */
    public function unheldAge(): ?int
    {
        return $this->oldestUnheld === null ? null : max(0, time() - $this->oldestUnheld);
    }

    /** True if a running process writes to it or sends from it. */
    public function isHeld(): bool
    {
        return $this->oldest !== null && $this->oldest !== $this->oldestUnheld;
    }

    public function owner(): string
    {
        if ($this->prefix === null) {
            return 'an unknown owner (no about.json)';
        }
        $cluster = $this->cluster === null ? 'cluster not known' : "cluster $this->cluster";

        return implode(',', $this->brokers) . " ($cluster), topic_prefix $this->prefix, application $this->application";
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
            $this->oldestUnheld = (int) min($this->oldestUnheld ?? PHP_INT_MAX, $since);
        }
    }
}
