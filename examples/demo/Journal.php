<?php

/**
 * What happened, one JSON object a line: who broadcasts writes what was sent, each service what it received.
 */

declare(strict_types=1);

namespace Demo;

final class Journal
{
    public function __construct(private string $file)
    {
    }

    /**
     * The journal of this run, as run.sh made it.
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
     * 1, 2, 3, … for whoever asks next, in whichever process: the page sees by them that nothing is missing.
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
     * The whole lines from a position on.
     *
     * @return array{list<array<string, mixed>>, int} the entries, and the position after them
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
