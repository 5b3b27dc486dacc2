<?php

/**
 * The options of a run, checked.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

use InvalidArgumentException;

final class Settings
{
    public const MODES = ['at-least-once', 'at-most-once', 'exactly-once'];
    public const PARTS = ['at-least-once', 'at-most-once', 'exactly-once', 'fpm', 'outage', 'memory'];
    /** A consumer that is silent for this long has lost its partitions, in ms; a frozen one stays silent for longer. */
    public const SESSION_MS = 6000;
    /** A consumer whose callback takes this long has lost its partitions too, in ms; one number takes longer. */
    public const POLL_INTERVAL_MS = 10_000;

    /**
     * @param list<string> $parts of PARTS
     * @param int $messages numbered messages per mode
     * @param int $workers that share them
     * @param int $seconds the least time sending takes, so that there is time for faults
     * @param int $rate messages a second at most
     * @param string $cluster name of the cluster (tests/support/cluster.sh)
     * @param string $callbacks how badly they behave, of Behaviour::LEVELS
     * @param string $directory where notes and logs go
     */
    private function __construct(
        public readonly array $parts,
        public readonly int $messages,
        public readonly int $seed,
        public readonly int $workers,
        public readonly int $seconds,
        public readonly int $rate,
        public readonly string $cluster,
        public readonly string $directory,
        public readonly string $extension,
        public readonly string $callbacks
    ) {
    }

    /**
     * @param list<string> $arguments `--name=value` each
     *
     * @throws InvalidArgumentException an unknown one, or a value that makes no sense
     */
    public static function parse(array $arguments): self
    {
        $given = [
            'mode' => 'all', 'messages' => '1000000', 'seed' => '', 'workers' => '4', 'seconds' => '120',
            'rate' => '3000', 'cluster' => '', 'directory' => '', 'extension' => '',
            'callbacks' => Behaviour::ALL,
        ];
        foreach ($arguments as $argument) {
            if (!preg_match('/\A--([a-z]+)=(.*)\z/', $argument, $match) || !isset($given[$match[1]])) {
                throw new InvalidArgumentException("Unknown argument '$argument'. See: tests/chaos/run.sh --help");
            }
            $given[$match[1]] = $match[2];
        }
        $parts = $given['mode'] === 'all' ? self::PARTS : explode(',', $given['mode']);
        foreach (array_diff($parts, self::PARTS) as $wrong) {
            throw new InvalidArgumentException("Unknown mode '$wrong'. Known are: " . implode(', ', self::PARTS));
        }
        $number = static function (string $name, int $least) use ($given): int {
            if (!ctype_digit($given[$name]) || (int) $given[$name] < $least) {
                throw new InvalidArgumentException("--$name='$given[$name]' is not a number of at least $least.");
            }

            return (int) $given[$name];
        };

        if (!in_array($given['callbacks'], Behaviour::LEVELS, true)) {
            $known = implode(', ', Behaviour::LEVELS);
            throw new InvalidArgumentException("--callbacks='$given[callbacks]' is none of: $known");
        }

        return new self(
            array_values($parts),
            $number('messages', 500),
            $given['seed'] === '' ? random_int(1, 999_999) : $number('seed', 0),
            $number('workers', 2),
            $number('seconds', 5),
            $number('rate', 10),
            $given['cluster'],
            $given['directory'],
            $given['extension'],
            $given['callbacks']
        );
    }

    /**
     * The command line that repeats this part.
     */
    public function again(string $part): string
    {
        return "make chaos MODE=$part SEED=$this->seed MESSAGES=$this->messages WORKERS=$this->workers"
            . " SECONDS=$this->seconds RATE=$this->rate"
            . ($this->callbacks === Behaviour::ALL ? '' : " CALLBACKS=$this->callbacks");
    }

    /**
     * The duration of sending, in seconds.
     */
    public function duration(): float
    {
        return max((float) $this->seconds, $this->messages / $this->rate);
    }
}
