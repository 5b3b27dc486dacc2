<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Worker\Text;

/**
 * The letters that a replay will send: shown before it is confirmed, and then executed exactly. Only keeps the
 * positions of letters, so that a million of them fit into memory. Messages that fail during the replay are not part of
 * the plan, so a message that keeps failing is replayed once, not endlessly.
 */
final class ReplayPlan
{
    /** @var array<string, array<int, array<int, true>>> topic, partition, offset */
    public array $positions = [];
    /** @var list<Letter> letters without a value, whose original record must be fetched */
    public array $fetched = [];
    /**
     * @var array<string, string> reason by letter id (or by the requested id, if there is no such letter), for letters
     *        that cannot be replayed
     */
    public array $refused = [];
    /** Letters left out because they were replayed before. */
    public int $replayedBefore = 0;
    private int $count = 0;
    /** @var array<string, array<string, int>> by original topic and group */
    private array $counts = [];

    public function __construct(private NewestLetters $sample)
    {
    }

    /**
     * Adds a letter.
     *
     * @param string $group the consumer group it is replayed for
     * @param bool $fetch the value must be fetched from the original topic
     */
    public function add(Letter $letter, string $group, bool $fetch): void
    {
        $record = $letter->record;
        if ($fetch) {
            $this->fetched[] = $letter;
        } else {
            $this->positions[$record->topic][$record->partition][$record->offset] = true;
        }
        $this->count++;
        $this->counts[$letter->originalTopic][$group] ??= 0;
        $this->counts[$letter->originalTopic][$group]++;
        // Negative times: NewestLetters then keeps the oldest letters.
        $this->sample->add(-$letter->failedAt, $letter->toArray(null));
    }

    /** Number of letters to replay. */
    public function count(): int
    {
        return $this->count;
    }

    /**
     * One line per topic and group: `12 letters to realtime_user_1 for the group app`.
     *
     * @return list<string>
     */
    public function summary(): array
    {
        $lines = [];
        ksort($this->counts);
        foreach ($this->counts as $topic => $groups) {
            ksort($groups);
            foreach ($groups as $group => $count) {
                $lines[] = '  ' . Text::count($count, 'letter') . " to $topic for the group " . Text::printable($group);
            }
        }

        return $lines;
    }

    /**
     * The oldest letters, oldest first, as returned by Letter::toArray().
     *
     * @return list<array<string, mixed>>
     */
    public function sample(): array
    {
        return $this->sample->take();
    }
}
