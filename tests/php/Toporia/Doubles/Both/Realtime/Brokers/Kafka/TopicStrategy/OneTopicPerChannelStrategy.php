<?php

/**
 * Its existence means that `one-per-channel` keeps dots.
 */

declare(strict_types=1);

namespace Toporia\Framework\Realtime\Brokers\Kafka\TopicStrategy;

final class OneTopicPerChannelStrategy
{
}
