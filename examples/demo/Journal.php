<?php

/**
 * A log of sent and received orders, one JSON object per line, written by the broadcasting process and by each service.
 */

declare(strict_types=1);

namespace Demo;

final class Journal
{
    public function __construct(private string $file)
    {
    }

    /**
     * The journal created by run.sh.
     */
    public static function ofThisRun(): self
    {
        return new self(getenv('DEMO_JOURNAL') ?: exit("Start the demo with: make demo\n"));
    }

    /** @param array<string, mixed> $entry */
    public function write(array $entry): void
    {
        $line = json_encode($entry, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR) . "\n";
        file_put_contents($this->file, $line, FILE_APPEND | LOCK_EX);
    }

    /**
     * Returns 1, 2, 3, …, unique across processes. The page detects lost orders by gaps in these numbers.
     */
    public function nextNumber(): int
    {
        $file = fopen("$this->file.number", 'c+');
        flock($file, LOCK_EX);
        $number = 1 + (int) stream_get_contents($file);
        rewind($file);
        fwrite($file, (string) $number);
        fclose($file);

        return $number;
    }

    /**
     * Reads the complete lines from a byte position on.
     *
     * @return array{list<array<string, mixed>>, int} the entries, and the position after the last one
     */
    public function read(int $from): array
    {
        $text = (string) file_get_contents($this->file, false, null, $from);
        $whole = (int) strrpos("\n" . $text, "\n");
        $lines = explode("\n", rtrim(substr($text, 0, $whole)));

        $entries = array_map(static fn (string $line): array => json_decode($line, true), array_filter($lines));

        return [$entries, $from + $whole];
    }
}
