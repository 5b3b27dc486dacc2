<?php

/**
 * The topics that the configuration wants, and what each topic of the cluster is to it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Ops;

/**
 * Made of Admin::configuration(). With one topic per channel no topic is wanted by name: they come with the channels.
 */
final class TopicPlan
{
    /** Of the kinds below these are ours; `other` begins with our prefix, and nobody knows why. */
    public const MAPPED = 'mapped';
    public const FALLBACK = 'default';
    public const CHANNEL = 'channel';
    public const LEFT_OVER = 'left over';
    public const DEAD_LETTERS = 'dead letters';
    public const GATEWAY = 'gateway';
    public const OTHER = 'other';

    /** @var array<string, WantedTopic> by name */
    public readonly array $wanted;

    /**
     * @param array<string, mixed> $settings
     */
    public function __construct(private array $settings)
    {
        $wanted = [];
        foreach ($settings['topic_mapping'] as $entry) {
            $topic = $entry['topic'];
            $wanted[$topic] = ($wanted[$topic] ?? new WantedTopic($topic))->with($entry);
        }
        if ($this->isGrouped()) {
            $topic = $settings['default_topic'];
            $wanted[$topic] ??= new WantedTopic($topic, ['all other channels'], $settings['default_partitions']);
        }
        $this->wanted = $wanted;
    }

    public function isGrouped(): bool
    {
        return $this->settings['topic_strategy'] === 'grouped';
    }

    public function strategy(): string
    {
        return $this->settings['topic_strategy'];
    }

    public function prefix(): string
    {
        return $this->settings['topic_prefix'];
    }

    /**
     * Partitions of topics that nothing else is said about; null: one.
     */
    public function defaultPartitions(): ?int
    {
        return $this->settings['default_partitions'];
    }

    /**
     * True if topics that are missing come by themselves when they are first needed.
     */
    public function createsTopics(): bool
    {
        return $this->settings['auto_create_topics'];
    }

    /**
     * The topic whose dead letters a topic holds; null: it holds none.
     */
    public function original(string $topic): ?string
    {
        $prefix = $this->settings['dlq_prefix'] . '.';

        return str_starts_with($topic, $prefix) ? substr($topic, strlen($prefix)) : null;
    }

    /**
     * What a topic is to this configuration; null: nothing of ours.
     *
     * @return self::*|null
     */
    public function kind(string $topic): ?string
    {
        $prefix = $this->prefix();
        $dlq = $this->settings['dlq_prefix'];
        $original = $this->original($topic);
        if ($topic === "$dlq-replayed" || $original !== null && $this->kind($original) !== null) {
            return self::DEAD_LETTERS;
        }
        if (isset($this->wanted[$topic])) {
            return $this->wanted[$topic]->isFallback() ? self::FALLBACK : self::MAPPED;
        }
        if (preg_match('/\A' . preg_quote($prefix, '/') . '[._]__(presence|client|events)\z/', $topic) === 1) {
            return self::GATEWAY;
        }
        if (str_starts_with($topic, "{$prefix}_")) {
            return $this->isGrouped() ? self::LEFT_OVER : self::CHANNEL;
        }

        return $topic === $prefix || str_starts_with($topic, "$prefix.") ? self::OTHER : null;
    }
}
