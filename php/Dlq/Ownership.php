<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

use Toporia\Realtime\Diagnostics\TopicPlan;

/**
 * Tells the letters of this application from those of others on the same cluster. The name of a topic does not decide:
 * `shop_staging_user_1` is the topic of the channel `staging.user.1` with the prefix `shop`, and of `user.1` with the
 * prefix `shop_staging`. As for records, the channel of the message decides. A letter without a channel belongs to the
 * application with the longest known prefix of its topic; prefixes are known from the gateways' topics and from letters
 * with a channel.
 */
final class Ownership
{
    private const GATEWAY = '/\A(.+)\.__(?:presence|client|events)\z/';

    /** @var array<string, true> topics and longer prefixes of other applications */
    private array $others = [];
    /** @var array<string, true> dead-letter topics with letters of other applications */
    private array $skipped = [];

    /** @param list<string> $topics all topics of the cluster */
    public function __construct(private TopicPlan $plan, private TopicNames $names, array $topics)
    {
        foreach ($topics as $topic) {
            if (preg_match(self::GATEWAY, $topic, $match) === 1) {
                $this->addPrefix($match[1]);
            }
        }
    }

    /** True for a dead-letter topic that may hold letters of this application. */
    public function mayOwn(string $deadLetters): bool
    {
        return $this->plan->kind($this->names->original($deadLetters)) !== null;
    }

    /**
     * True if every letter of a topic is this application's, whatever its channel: the configuration names the topic.
     */
    public function isConfigured(string $deadLetters): bool
    {
        $kind = $this->plan->kind($this->names->original($deadLetters));

        return !in_array($kind, [null, TopicPlan::CHANNEL, TopicPlan::LEFT_OVER, TopicPlan::OTHER], true);
    }

    /** Learns from a letter whose topic and prefix it has; false if it has no channel and says nothing. */
    public function learn(Letter $letter): bool
    {
        $channel = $letter->channel();
        $topic = $this->names->original($letter->record->topic);
        if ($channel === null) {
            return false;
        }
        if (!$this->plan->isTopicOf($channel, $topic)) {
            $this->others[$topic] = true;
            foreach (TopicPlan::channelParts($channel) as $part) {
                if (str_ends_with($topic, "_$part")) {
                    $this->addPrefix(substr($topic, 0, -strlen("_$part")));
                }
            }
        }

        return true;
    }

    /** True for a letter of this application. */
    public function owns(Letter $letter): bool
    {
        $deadLetters = $letter->record->topic;
        $topic = $this->names->original($deadLetters);
        $channel = $letter->channel();
        $owns = $this->isConfigured($deadLetters)
            || ($channel === null ? !$this->isOfAnother($topic) : $this->plan->isTopicOf($channel, $topic));
        if (!$owns) {
            $this->skipped[$deadLetters] = true;
        }

        return $owns;
    }

    /**
     * The dead-letter topics in which owns() has found letters of other applications.
     *
     * @return list<string>
     */
    public function skipped(): array
    {
        return array_map('strval', array_keys($this->skipped));
    }

    private function addPrefix(string $prefix): void
    {
        if (preg_match('/\A' . preg_quote($this->plan->settings['topic_prefix'], '/') . '[._-]/', $prefix) === 1) {
            $this->others[$prefix] = true;
        }
    }

    private function isOfAnother(string $topic): bool
    {
        foreach (array_keys($this->others) as $other) {
            if ($topic === $other || str_starts_with($topic, "{$other}_") || str_starts_with($topic, "$other.")) {
                return true;
            }
        }

        return false;
    }
}
