<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Dlq\TopicNames;

/**
 * The configured topics, and the role of each topic of the cluster. Based on Admin::configuration(). With one topic per
 * channel no topic is expected by name: topics are created with their channels.
 */
final class TopicPlan
{
    /**
     * Kinds of topics, by their names. The topics of channels that are not configured (`channel`, `left over`) may also
     * belong to an application whose prefix begins with this one, and `other` only shares the prefix.
     */
    public const MAPPED = 'mapped';
    public const FALLBACK = 'default';
    public const CHANNEL = 'channel';
    public const LEFT_OVER = 'left over';
    public const DEAD_LETTERS = 'dead letters';
    public const GATEWAY = 'gateway';
    public const OTHER = 'other';

    /** @var array<string, WantedTopic> by name */
    public readonly array $wanted;
    public readonly TopicNames $deadLetters;

    /** @param array<string, mixed> $settings */
    public function __construct(public readonly array $settings)
    {
        $this->deadLetters = new TopicNames($settings['dlq_prefix']);
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

    /** The topic for test records, which belongs to this application by its name. */
    public function probe(): string
    {
        return "{$this->settings['topic_prefix']}.__doctor";
    }

    /** The original topic of a dead-letter topic; null for other topics. */
    public function original(string $topic): ?string
    {
        return $this->deadLetters->isDeadLetters($topic) ? $this->deadLetters->original($topic) : null;
    }

    /**
     * The role of a topic in this configuration; null if it is not part of it.
     *
     * @return self::*|null
     */
    public function kind(string $topic): ?string
    {
        $prefix = $this->settings['topic_prefix'];
        $original = $this->original($topic);
        if ($topic === $this->deadLetters->replayed() || $original !== null && $this->kind($original) !== null) {
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

    /** True if a channel has this topic of its own: `user.1` has `shop_user_1` or, with dots, `shop_user.1`. */
    public function isTopicOf(string $channel, string $topic): bool
    {
        foreach (self::channelParts($channel) as $part) {
            if ($topic === "{$this->settings['topic_prefix']}_$part") {
                return true;
            }
        }

        return false;
    }

    /**
     * What follows `<prefix>_` in the topics of a channel, without and with dots.
     *
     * @return list<string>
     */
    public static function channelParts(string $channel): array
    {
        return [
            (string) preg_replace('/[^A-Za-z0-9-]/', '_', $channel),
            (string) preg_replace('/[^A-Za-z0-9._-]/', '_', $channel),
        ];
    }
}
