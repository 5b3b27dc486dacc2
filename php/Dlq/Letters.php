<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Exception\RealtimeException;

/** Reads dead letters from Kafka. Streams letters one at a time, so that their number does not matter. */
final class Letters
{
    /** Letters of a topic that are read to learn whose topic it is. */
    private const SAMPLE = 100;

    private ?ReplayMarkers $markers = null;

    /**
     * @param Ownership|null $ownership letters of other applications are only read if the selection names them or their
     *        topic in full; null: all letters
     */
    public function __construct(
        private Cluster $cluster,
        private TopicNames $names,
        private ?Ownership $ownership = null
    ) {
    }

    /**
     * All dead-letter topics.
     *
     * @return list<string>
     *
     * @throws RealtimeException
     */
    public function topics(): array
    {
        $topics = array_map('strval', array_keys($this->cluster->topics($this->names->pattern())));
        sort($topics);

        return array_values(array_filter($topics, $this->names->isDeadLetters(...)));
    }

    /**
     * The dead-letter topics in which the selection is searched.
     *
     * @return list<string>
     *
     * @throws RealtimeException
     */
    public function selected(Selection $selection): array
    {
        $topics = $this->topics();

        return $selection->topics(
            $topics,
            $this->ownership === null ? $topics : array_filter($topics, $this->ownership->mayOwn(...))
        );
    }

    /**
     * The dead-letter topics that match the selection and have letters of other applications, which were left out. Call
     * it after the letters were read.
     *
     * @return list<string>
     *
     * @throws RealtimeException
     */
    public function skipped(Selection $selection): array
    {
        $topics = $this->topics();

        $skipped = array_diff($selection->topics($topics, $topics), $this->selected($selection));
        $skipped = array_unique([...$skipped, ...$this->ownership?->skipped() ?? []]);
        sort($skipped);

        return $skipped;
    }

    /**
     * The markers of replayed letters.
     *
     * @throws RealtimeException
     */
    public function markers(): ReplayMarkers
    {
        return $this->markers ??= ReplayMarkers::load($this->cluster, $this->names);
    }

    /**
     * Reads the selected letters, in order within each partition, with the time of their last replay (Unix seconds).
     *
     * @param callable(Letter, int|null): (void|false) $callback return false to stop
     *
     * @throws RealtimeException
     */
    public function each(Selection $selection, callable $callback): void
    {
        $markers = $this->markers();
        foreach ($this->readable($selection) as $topic) {
            $from = $selection->from($topic, $this->cluster->offsets($topic));
            $continue = true;
            $this->read($topic, $from, function (Letter $letter) use ($selection, $callback, $markers, &$continue) {
                $continue = !$this->isSelected($selection, $letter)
                    || $callback($letter, $markers->replayedAt($letter)) !== false;

                return $continue;
            });
            if (!$continue) {
                return;
            }
        }
    }

    /**
     * The topics to read for a selection; afterwards isSelected() can tell the letters of other applications.
     *
     * @return list<string>
     *
     * @throws RealtimeException
     */
    public function readable(Selection $selection): array
    {
        $topics = $this->selected($selection);
        foreach ($this->ownership === null ? [] : $topics as $topic) {
            if (!$selection->isNamed($topic) && !$this->ownership->isConfigured($topic)) {
                $count = 0;
                $this->read($topic, [], function (Letter $letter) use (&$count): bool {
                    return ++$count < self::SAMPLE && !$this->ownership?->learn($letter);
                });
            }
        }

        return $topics;
    }

    /** True for a letter of the selection that is this application's, or that is named, itself or by its topic. */
    public function isSelected(Selection $selection, Letter $letter): bool
    {
        $isOwn = $this->ownership === null || $selection->isNamed($letter->record->topic)
            || $this->ownership->owns($letter);

        return $isOwn && $selection->matches($letter);
    }

    /**
     * Reads all letters of a topic, in order within each partition.
     *
     * @param array<int, int> $from start offset by partition
     * @param callable(Letter): (void|bool) $callback return false to stop
     *
     * @throws RealtimeException
     */
    public function read(string $topic, array $from, callable $callback): void
    {
        $this->cluster->read(
            $topic,
            fn (Record $record): ?bool => $callback(new Letter($record, $this->names)) === false ? false : null,
            $from
        );
    }
}
