<?php

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

/**
 * The naming rules of dead-letter topics. Dead letters of `orders` are in `dlq.orders`; `dlq-replayed` holds the
 * markers of replayed letters.
 */
final class TopicNames
{
    /** The configuration keys of the prefix: this package's, then Toporia's. */
    private const KEYS = ['dlq_prefix', 'dlq_topic_prefix'];

    public function __construct(private string $prefix = 'dlq')
    {
    }

    /**
     * The names configured for a broker: the broker's own setting, then the global one, then `dlq`.
     *
     * @param array<string, mixed> $config the `realtime` configuration
     */
    public static function configured(array $config, string $broker): self
    {
        $brokers = $config['brokers'] ?? null;
        $own = is_array($brokers) ? $brokers[$broker] ?? null : null;
        foreach ([is_array($own) ? $own : [], $config] as $layer) {
            foreach (self::KEYS as $key) {
                $prefix = $layer[$key] ?? null;
                if (is_string($prefix) && trim($prefix) !== '') {
                    return new self(rtrim(trim($prefix), '.'));
                }
            }
        }

        return new self();
    }

    /**
     * The pattern of all dead-letter topics: `dlq.**`.
     */
    public function pattern(): string
    {
        return "$this->prefix.**";
    }

    /**
     * True if the name is that of a dead-letter topic.
     */
    public function isDeadLetters(string $topic): bool
    {
        return str_starts_with($topic, "$this->prefix.");
    }

    /**
     * The dead-letter topic of a topic; a dead-letter topic is returned unchanged.
     */
    public function deadLetters(string $topic): string
    {
        return $this->isDeadLetters($topic) ? $topic : "$this->prefix.$topic";
    }

    /**
     * The original topic of a dead-letter topic.
     */
    public function original(string $deadLetters): string
    {
        return $this->isDeadLetters($deadLetters) ? substr($deadLetters, strlen($this->prefix) + 1) : $deadLetters;
    }

    /**
     * The topic that holds the markers of replayed letters.
     */
    public function replayed(): string
    {
        return "$this->prefix-replayed";
    }
}
