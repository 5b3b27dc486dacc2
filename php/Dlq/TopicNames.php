<?php

/**
 * The names of dead-letter topics.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Dlq;

/**
 * Dead letters of `orders` are in `dlq.orders`; `dlq-replayed` remembers which were replayed.
 */
final class TopicNames
{
    /** What the configuration calls the prefix: ours, then Toporia's. */
    private const KEYS = ['dlq_prefix', 'dlq_topic_prefix'];

    public function __construct(private string $prefix = 'dlq')
    {
    }

    /**
     * As configured for a broker: the broker's own entry, then the one for all brokers, then `dlq`.
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
     * The pattern of every dead-letter topic: `dlq.**`.
     */
    public function pattern(): string
    {
        return "$this->prefix.**";
    }

    /**
     * True if a topic is a dead-letter topic by its name.
     */
    public function isDeadLetters(string $topic): bool
    {
        return str_starts_with($topic, "$this->prefix.");
    }

    /**
     * Where the dead letters of a topic are; of a dead-letter topic, itself.
     */
    public function deadLetters(string $topic): string
    {
        return $this->isDeadLetters($topic) ? $topic : "$this->prefix.$topic";
    }

    /**
     * The topic whose dead letters these are.
     */
    public function original(string $deadLetters): string
    {
        return $this->isDeadLetters($deadLetters) ? substr($deadLetters, strlen($this->prefix) + 1) : $deadLetters;
    }

    /**
     * The control topic that remembers what was replayed.
     */
    public function replayed(): string
    {
        return "$this->prefix-replayed";
    }
}
