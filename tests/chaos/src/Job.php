<?php

/**
 * Shared by the processes of one run: names of topics and group, and the configuration of their brokers.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

final class Job
{
    /** The channels of most numbers: both in one topic, so that batches are gathered beside another subscription. */
    public const BATCH_CHANNEL = 'in.batch';
    public const SINGLE_CHANNEL = 'in.single';
    /** Partitions of the topics. */
    public const PARTITIONS = ['in' => 12, 'raw' => 4, 'out' => 12];

    public function __construct(
        public readonly string $brokers,
        public readonly string $mode,
        public readonly string $prefix,
        public readonly string $directory,
        public readonly int $seed,
        public readonly int $messages,
        public readonly float $seconds,
        public readonly string $callbacks
    ) {
    }

    /**
     * A separate job for a part, with its own topics.
     *
     * @param array<string, mixed> $other than the settings say
     */
    public static function create(
        Settings $settings,
        string $mode,
        Cluster $cluster,
        string $directory,
        array $other = []
    ): self {
        $prefix = 'chaos-' . bin2hex(random_bytes(3));

        return new self(...$other + [
            'brokers' => $cluster->address,
            'mode' => $mode,
            'prefix' => $prefix,
            'directory' => $directory,
            'seed' => $settings->seed,
            'messages' => $settings->messages,
            'seconds' => $settings->duration(),
            'callbacks' => $settings->callbacks,
        ]);
    }

    public static function fromJson(string $json): self
    {
        $given = json_decode($json, true, 8, JSON_THROW_ON_ERROR);

        return new self(...$given);
    }

    /** The job as one command-line argument. */
    public function toJson(): string
    {
        return json_encode(get_object_vars($this), JSON_THROW_ON_ERROR);
    }

    /** The channels' topic; the raw topic for numbers without key; the topic of the results. */
    public function input(): string
    {
        return "$this->prefix.in";
    }

    public function raw(): string
    {
        return "$this->prefix.raw";
    }

    public function output(): string
    {
        return "$this->prefix.out";
    }

    public function group(): string
    {
        return "$this->prefix-group";
    }

    /** The channel of a key: a key keeps its order within one channel. */
    public static function channel(string $key): string
    {
        return crc32($key) % 2 === 0 ? self::BATCH_CHANNEL : self::SINGLE_CHANNEL;
    }

    public function behaviour(): Behaviour
    {
        return new Behaviour($this->seed, $this->messages, $this->callbacks);
    }

    /** @return array<string, int> name => partitions */
    public function topics(): array
    {
        return [
            $this->input() => self::PARTITIONS['in'],
            $this->raw() => self::PARTITIONS['raw'],
            $this->output() => self::PARTITIONS['out'],
        ];
    }

    /**
     * The configuration of a broker that consumes and forwards.
     *
     * @return array<string, mixed>
     */
    public function consumer(): array
    {
        $exactlyOnce = $this->mode === 'exactly-once';

        return [
            'brokers' => $this->brokers,
            'topic_prefix' => $this->prefix,
            'topic_strategy' => 'grouped',
            'default_topic' => $this->input(),
            'consumer_group' => $this->group(),
            // Waiting is not tested here.
            'retry_backoff_ms' => 20,
            'consumer_config' => [
                'session.timeout.ms' => Settings::SESSION_MS,
                'max.poll.interval.ms' => Settings::POLL_INTERVAL_MS,
            ],
            // A killed worker's open transaction blocks readers of committed results for this long.
            'producer_config' => $exactlyOnce ? ['transaction.timeout.ms' => 10_000] : [],
        ] + ($this->mode === 'at-least-once' ? [] : ['delivery' => $this->mode]);
    }
}
