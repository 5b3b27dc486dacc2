<?php

/**
 * The results of each number: how often it was begun, handled, forwarded and dead-lettered, and whether order was kept.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

use ArrayObject;

final class Ledger
{
    /** Counts, one byte per number. */
    public string $input;
    public string $begun;
    public string $handled;
    public string $output;
    public string $dead;
    /** @var array<int, string> number => exception class of its dead letter */
    public array $classes = [];
    /** @var array<int, int> number => attempts its dead letter tells */
    public array $attempts = [];
    /** @var array<int, list<string>> number => where its dead letters are */
    public array $places = [];
    /** @var list<string> where a key's first appearances do not ascend */
    public array $disorder = [];
    /** @var list<string> where the producer's order was not kept */
    public array $inputDisorder = [];
    /** Records that are not numbers of this run. */
    public int $foreign = 0;
    /** @var array<string, list<int>> notes file => KB resident, as time went on */
    public array $memory = [];

    public function __construct(private readonly int $messages, private readonly Job $job)
    {
        $this->input = $this->begun = $this->handled = $this->output = $this->dead = str_repeat("\0", $messages);
    }

    /** Reads the topics and the workers' notes. */
    public function fill(Cluster $cluster, Reader $reader): void
    {
        $topics = $cluster->topics($this->job->prefix);
        $inputs = [$this->job->input(), $this->job->raw()];
        foreach ($topics as $topic => $partitions) {
            // Arrow functions capture copies of everything except objects.
            $last = new ArrayObject();
            $reader->read($topic, $partitions, match (true) {
                in_array($topic, $inputs, true) => fn (int $p, int $o, string $h, ?string $key, string $value)
                    => $this->sent($key, $value, $last),
                $topic === $this->job->output() => fn (int $p, int $o, string $h, ?string $key, string $value)
                    => $this->forwarded($p, $o, $key, $value, $last),
                default => fn (int $p, int $o, string $headers, ?string $key, string $value)
                    => $this->deadLettered("$topic partition $p offset $o", $headers, $value),
            });
        }
        foreach (glob("{$this->job->directory}/worker-*.notes") ?: [] as $file) {
            $this->readNotes($file);
        }
    }

    /**
     * Numbers whose counts satisfy a condition.
     *
     * @param callable(int): bool $wanted gets a number
     *
     * @return list<int>
     */
    public function numbers(callable $wanted): array
    {
        $found = [];
        for ($number = 0; $number < $this->messages; $number++) {
            if ($wanted($number)) {
                $found[] = $number;
            }
        }

        return $found;
    }

    /**
     * Numbers that arrived more than once.
     *
     * @return list<int>
     */
    public static function repeated(string $counts): array
    {
        $found = [];
        $offset = 0;
        $length = strlen($counts);
        while (($offset += strspn($counts, "\0\1", $offset)) < $length) {
            $found[] = $offset++;
        }

        return $found;
    }

    /** @param ArrayObject<string, int> $last key => its last number */
    private function sent(?string $key, string $value, ArrayObject $last): void
    {
        $envelope = json_decode($value, true);
        $number = is_array($envelope) ? ($envelope['data'] ?? null) : $envelope;
        if (!is_int($number) || !$this->count($this->input, $number) || $key === null) {
            return;
        }
        if ($number <= ($last[$key] ?? -1)) {
            $this->inputDisorder[] = "$key: $number after $last[$key]";
        }
        $last[$key] = $number;
    }

    /** @param ArrayObject<string, int> $last key => the last number that came for the first time */
    private function forwarded(int $partition, int $offset, ?string $key, string $value, ArrayObject $last): void
    {
        $number = (int) $value;
        if (!ctype_digit($value) || !$this->count($this->output, $number) || ord($this->output[$number]) > 1) {
            return;
        }
        if ($key !== Behaviour::key($number)) {
            $this->foreign++;
        } elseif ($key !== null) {
            if ($number < ($last[$key] ?? -1)) {
                $this->disorder[] = "$key: $number after $last[$key] (partition $partition, offset $offset)";
            }
            $last[$key] = max($number, $last[$key] ?? -1);
        }
    }

    private function deadLettered(string $place, string $headers, string $value): void
    {
        $envelope = json_decode($value, true);
        $number = is_array($envelope) ? ($envelope['data'] ?? null) : $envelope;
        if (is_int($number) && $this->count($this->dead, $number)) {
            $this->places[$number][] = "$place ($headers)";
            $this->classes[$number] = preg_match('/x-exception-class:([^,\t]*)/', $headers, $m) ? $m[1] : '';
            $this->attempts[$number] = preg_match('/x-attempts:(\d+)/', $headers, $m) ? (int) $m[1] : -1;
        }
    }

    /** False if it is not a number of this run. */
    private function count(string &$counts, int $number): bool
    {
        if ($number < 0 || $number >= $this->messages) {
            $this->foreign++;

            return false;
        }
        $counts[$number] = chr(min(255, ord($counts[$number]) + 1));

        return true;
    }

    /** Reads a worker's notes. */
    public function readNotes(string $file): void
    {
        $notes = fopen($file, 'rb');
        while ($notes !== false && ($line = fgets($notes)) !== false) {
            $number = (int) substr($line, 2);
            match ($line[0]) {
                'B' => $this->count($this->begun, $number),
                'H' => $this->count($this->handled, $number),
                'R' => $this->memory[basename($file)][] = $number,
                default => null,
            };
        }
    }
}
