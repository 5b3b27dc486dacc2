<?php

/**
 * The default mapping of the newer generation, in its class.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Brokers\Kafka\TopicStrategy;

final class TopicStrategyFactory
{
    private static function getDefaultTopicMapping(string $prefix): array
    {
        return [
            'user.*' => ['topic' => "$prefix.user", 'partitions' => 3],
            'events.**' => ['topic' => 'events.stream', 'partitions' => 2],
        ];
    }
}
