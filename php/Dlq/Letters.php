<?php

/**
 * Reads dead letters from Kafka.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Closure;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * Streams letters one at a time, so that their number does not matter.
 */
final class Letters
{
    private ?ReplayMarkers $markers = null;

    /**
     * @param (Closure(string): bool)|null $isOwn true for the dead-letter topics of this application; the others are
     *        only read if the selection names them in full. null: all topics
     */
    public function __construct(private Cluster $cluster, private TopicNames $names, private ?Closure $isOwn = null)
    {
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

        return $selection->topics($topics, $this->isOwn === null ? $topics : array_filter($topics, $this->isOwn));
    }

    /**
     * The dead-letter topics of other applications that match the selection but are not read.
     *
     * @return list<string>
     *
     * @throws RealtimeException
     */
    public function skipped(Selection $selection): array
    {
        $topics = $this->topics();

        return array_values(array_diff($selection->topics($topics, $topics), $this->selected($selection)));
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
        foreach ($this->selected($selection) as $topic) {
            $from = $selection->from($topic, $this->cluster->offsets($topic));
            $continue = true;
            $this->read($topic, $from, static function (Letter $letter) use ($selection, $callback, $markers, &$continue) {
                $continue = !$selection->matches($letter) || $callback($letter, $markers->replayedAt($letter)) !== false;

                return $continue;
            });
            if (!$continue) {
                return;
            }
        }
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
