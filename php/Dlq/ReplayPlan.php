<?php

/**
 * What a replay is going to do: shown before it is confirmed, and all that is done then.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Worker\Text;

/**
 * Letters are kept by their places alone, so that a million of them fit. What fails while the replay runs is not in it,
 * and so a message that keeps failing is replayed once, not for ever.
 */
final class ReplayPlan
{
    /** @var array<string, array<int, array<int, true>>> topic, partition, offset */
    public array $positions = [];
    /** @var list<Letter> those without a value, whose original is to be fetched */
    public array $fetched = [];
    /** @var array<string, string> why it cannot be replayed, by handle (or by what was asked for and is not there) */
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
     * Takes a letter in.
     *
     * @param string $group the group it is for
     * @param bool $fetch its value has to be fetched from where the record failed
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
        $this->counts[$letter->originalTopic()][$group] ??= 0;
        $this->counts[$letter->originalTopic()][$group]++;
        // The oldest of them: that is what NewestLetters keeps of negative times.
        $this->sample->add(-$letter->failedAt(), $letter->toArray(null));
    }

    /**
     * How many letters are to be replayed.
     */
    public function count(): int
    {
        return $this->count;
    }

    /**
     * One line for each topic and group: `12 letters to realtime_user_1 for the group app`.
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
     * The first letters, the oldest first, as Letter::toArray() has them.
     *
     * @return list<array<string, mixed>>
     */
    public function sample(): array
    {
        return $this->sample->take();
    }
}
