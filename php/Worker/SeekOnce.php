<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Toporia\Realtime\Broker;

/**
 * Applies --from: seeks each partition the first time it is assigned to this process. A partition that is assigned
 * again after a rebalance continues at its committed offset.
 */
final class SeekOnce
{
    /** @var array<string, true> */
    private array $done = [];
    /** @var array<string, true> topics that did not exist at the start */
    private array $missingAtStart = [];

    public function __construct(private FromPosition $from, private Reporter $reporter)
    {
    }

    /**
     * Records topics that do not exist yet: for `--from=end`, such a topic is read from its beginning.
     *
     * @param list<string> $topics
     */
    public function addMissingTopics(array $topics): void
    {
        foreach ($topics as $topic) {
            $this->missingAtStart[$topic] = true;
        }
    }

    /** @param array<int, array{topic: string, partition: int}> $partitions newly assigned partitions */
    public function apply(Broker $broker, array $partitions): void
    {
        if (!$this->from->seeks()) {
            return;
        }
        $seeked = [];
        foreach ($partitions as ['topic' => $topic, 'partition' => $partition]) {
            if (isset($this->done["$topic $partition"])) {
                continue;
            }
            $this->done["$topic $partition"] = true;
            if ($this->from->position() === 'end' && isset($this->missingAtStart[$topic])) {
                continue;
            }
            $broker->seek($topic, $partition, $this->from->position());
            $seeked[] = ['topic' => $topic, 'partition' => $partition];
        }
        if ($seeked !== []) {
            $to = $this->from->describe();
            $this->reporter->event(
                'seek',
                "reading from $to: " . Text::partitions($seeked) . ' (a restart with --from seeks again)',
                ['partitions' => $seeked, 'from' => $to]
            );
        }
    }
}
