<?php

/**
 * Determines the topics that the application writes and reads.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Support\Pattern;

/**
 * Maps channels to topics by `topic_strategy`, `topic_mapping` and `topic_prefix`.
 */
final class ApplicationTopics
{
    private string $strategy;
    private string $prefix;

    public function __construct(private Settings $settings)
    {
        $this->strategy = strtr(strtolower($settings->text('topic_strategy', 'one-per-channel')), '_', '-');
        $this->prefix = $settings->prefix();
    }

    public function isGrouped(): bool
    {
        return $this->strategy === 'grouped';
    }

    /**
     * The configured topics with their settings.
     *
     * @return array<string, array{partitions: ?int, replication: ?int}>
     */
    public function configured(): array
    {
        if (!$this->isGrouped()) {
            return [];
        }
        $topics = [];
        $default = (int) $this->settings->text('default_partitions', '0') ?: null;
        foreach ($this->mapping() as $entry) {
            $partitions = (int) ($entry['partitions'] ?? 0) ?: $default;
            $replication = (int) ($entry['replication'] ?? $entry['replication_factor'] ?? 0);
            $topics[$entry['topic']] = [
                'partitions' => $partitions,
                'replication' => $replication > 0 ? $replication : null,
            ];
        }
        $topics += [$this->settings->text('default_topic', $this->prefix) => [
            'partitions' => $default,
            'replication' => null,
        ]];

        return $topics;
    }

    /**
     * The topics that a worker with these --channels reads.
     *
     * @param list<string> $channels names and patterns
     * @param list<string> $existing all topics of the cluster
     *
     * @return list<string> existing topics for patterns; for names also missing ones
     */
    public function of(array $channels, array $existing): array
    {
        $topics = [];
        foreach ($channels as $channel) {
            if ($this->isGrouped()) {
                $topics = [...$topics, ...$this->grouped($channel)];
            } elseif (!Pattern::isPattern($channel)) {
                $topics[] = $this->topic($channel);
            } else {
                foreach ($existing as $topic) {
                    if ($this->fits($channel, $topic)) {
                        $topics[] = $topic;
                    }
                }
            }
        }

        return array_values(array_unique($topics));
    }

    /**
     * The existing topics of this application, including those of the gateways.
     *
     * @param list<string> $existing
     *
     * @return list<string>
     */
    public function own(array $existing): array
    {
        $configured = $this->configured();

        return array_values(array_filter($existing, fn (string $topic): bool => isset($configured[$topic])
            || !$this->isGrouped() && str_starts_with($topic, $this->prefix . '_')));
    }

    /** @return list<string> the gateways' control topics */
    public function ofGateways(): array
    {
        return ["$this->prefix.__presence", "$this->prefix.__client"];
    }

    /** The topic for test records, which belongs to this application by its name. */
    public function probe(): string
    {
        return "$this->prefix.__doctor";
    }

    private function topic(string $channel): string
    {
        $kept = $this->strategy === 'one-per-channel-dots' ? '._' : '';

        return $this->prefix . '_' . preg_replace("/[^A-Za-z0-9$kept-]/", '_', $channel);
    }

    private function fits(string $pattern, string $topic): bool
    {
        $marked = strtr($pattern, ['**' => "\x01", '*' => "\x02"]);
        $kept = $this->strategy === 'one-per-channel-dots' ? '._' : '';
        $tail = (string) preg_replace("/[^A-Za-z0-9$kept\x01\x02-]/", '_', $marked);
        $regex = strtr(preg_quote($this->prefix . '_' . $tail, '~'), ["\x01" => '.*', "\x02" => '.+']);

        return preg_match("~\A$regex\z~", $topic) === 1;
    }

    /** @return list<string> */
    private function grouped(string $channel): array
    {
        $mapping = $this->mapping();
        if (!Pattern::isPattern($channel)) {
            $pattern = null;
            foreach (array_keys($mapping) as $candidate) {
                if (Pattern::matches((string) $candidate, $channel)) {
                    $pattern = $candidate;
                    break;
                }
            }

            return [$pattern === null ? $this->settings->text('default_topic', $this->prefix) : $mapping[$pattern]['topic']];
        }
        if (isset($mapping[$channel])) {
            return [$mapping[$channel]['topic']];
        }

        // A pattern may match channels of any topic.
        return array_map('strval', array_keys($this->configured()));
    }

    /** @return array<string, array<string, mixed>> by channel pattern; each has a `topic` */
    private function mapping(): array
    {
        $mapping = $this->settings->get('topic_mapping');
        $entries = [];
        foreach (is_array($mapping) ? $mapping : [] as $pattern => $entry) {
            $entry = is_array($entry) ? $entry : ['topic' => $entry];
            if (is_string($entry['topic'] ?? null) && trim($entry['topic']) !== '') {
                $entries[(string) $pattern] = ['topic' => trim($entry['topic'])] + $entry;
            }
        }

        return $entries;
    }
}
