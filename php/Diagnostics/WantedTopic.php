<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/**
 * A topic as configured. Null values use the brokers' defaults. If topic_mapping names a topic several times, the first
 * entry wins, as in the extension.
 */
final class WantedTopic
{
    /**
     * @param list<string> $patterns patterns of its channels
     * @param int|null $retention ms; -1: unlimited
     * @param bool $disputed topic_mapping has conflicting settings for it
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
     * A copy that includes another entry of topic_mapping.
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

    /** A copy with the overrides of the command line. */
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

    /** True for the default topic: channels that match no pattern of topic_mapping. */
    public function isFallback(): bool
    {
        return $this->patterns === ['all other channels'];
    }

    /** Describes the settings: `6 partitions, 3 replicas, retention 7 d`. */
    public function describe(): string
    {
        $words = [
            Text::count($this->partitions ?? 1, 'partition'),
            match ($this->replication) {
                null => "the brokers' default replication",
                1 => '1 replica',
                default => Text::number($this->replication) . ' replicas',
            },
        ];
        if ($this->retention !== null) {
            $words[] = 'retention ' . Text::retention($this->retention);
        }

        return implode(', ', $words);
    }
}
