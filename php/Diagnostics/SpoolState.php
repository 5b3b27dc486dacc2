<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/** The content of a spool, read without modifying it: one directory for each owner of messages. */
final class SpoolState
{
    public int $messages = 0;
    public int $bytes = 0;
    public int $failed = 0;
    public int $damaged = 0;
    public string $failedDirectory = '';
    public string $damagedDirectory = '';
    /** @var list<string> directories that this user cannot read */
    public array $unreadable = [];
    /** @var list<SpoolDirectory> */
    public array $directories = [];

    public function __construct(public readonly string $directory)
    {
        foreach (glob("$directory/*", GLOB_ONLYDIR) ?: [] as $path) {
            if (!is_readable($path)) {
                $this->unreadable[] = $path;
                continue;
            }
            $this->directories[] = $place = new SpoolDirectory($path);
            $this->messages += $place->messages;
            $this->bytes += $place->bytes;
            $this->failed += $place->failed;
            $this->damaged += $place->damaged;
            $this->failedDirectory = $place->failed > 0 ? "$path/failed" : $this->failedDirectory;
            $this->damagedDirectory = $place->damaged > 0 ? "$path/damaged" : $this->damagedDirectory;
        }
    }

    /** Age of the oldest waiting message in seconds; null if none is waiting. */
    public function age(): ?int
    {
        $ages = array_filter(array_map(static fn (SpoolDirectory $one) => $one->age(), $this->directories), 'is_int');

        return $ages === [] ? null : max($ages);
    }
}
