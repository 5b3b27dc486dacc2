<?php

/**
 * A topic as the configuration wants it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

use Toporia\Realtime\Worker\Text;

/**
 * Null leaves it to the brokers. Where topic_mapping names a topic several times, the first counts, as it does for the
 * extension.
 */
final class WantedTopic
{
    /**
     * @param list<string> $patterns the channels in it
     * @param int|null $retention ms; -1: for ever
     * @param bool $disputed topic_mapping says different things about it
     */
    public function __construct(
        public readonly string $topic,
        public readonly array $patterns = [],
        public readonly ?int $partitions = null,
        public readonly ?int $replication = null,
        public readonly ?int $retention = null,
        public readonly bool $disputed = false
    ) {
    }

    /**
     * With one more entry of topic_mapping.
     *
     * @param array{pattern: string, partitions: ?int, replication: ?int, retention_ms: ?int} $entry
     */
    public function with(array $entry): self
    {
        $said = [$entry['partitions'], $entry['replication'], $entry['retention_ms']];
        if ($this->patterns === []) {
            return new self($this->topic, [$entry['pattern']], ...$said);
        }
        $known = [$this->partitions, $this->replication, $this->retention];
        $patterns = [...$this->patterns, $entry['pattern']];

        return new self($this->topic, $patterns, ...$known, disputed: $this->disputed || $said !== $known);
    }

    /**
     * With what the command line says instead.
     */
    public function changed(?int $partitions, ?int $replication, ?int $retention): self
    {
        return new self(
            $this->topic,
            $this->patterns,
            $partitions ?? $this->partitions,
            $replication ?? $this->replication,
            $retention ?? $this->retention
        );
    }

    /**
     * Where channels go that no pattern of topic_mapping fits.
     */
    public function isFallback(): bool
    {
        return $this->patterns === ['all other channels'];
    }

    /**
     * `6 partitions, 3 copies, keeps 7 d`.
     */
    public function describe(): string
    {
        $words = [
            Text::count($this->partitions ?? 1, 'partition'),
            match ($this->replication) {
                null => "the brokers' number of copies",
                1 => '1 copy',
                default => Text::number($this->replication) . ' copies',
            },
        ];
        if ($this->retention !== null) {
            $words[] = 'keeps records ' . Units::retention($this->retention);
        }

        return implode(', ', $words);
    }
}
