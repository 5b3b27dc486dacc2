<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

/**
 * The publisher in use while config/realtime.php is invalid: every call throws the configuration error. Sends nothing:
 * with fallback settings, messages could reach the wrong Kafka.
 */
final class RefusedConfiguration implements Publisher
{
    public function __construct(private ConfigurationException $why)
    {
    }

    public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string
    {
        throw $this->refusal();
    }

    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array
    {
        throw $this->refusal();
    }

    public function send(
        string $topic,
        mixed $value,
        ?string $key = null,
        array $headers = [],
        ?int $partition = null
    ): string {
        throw $this->refusal();
    }

    private function refusal(): ConfigurationException
    {
        return new ConfigurationException('config/realtime.php: ' . $this->why->getMessage(), 0, $this->why);
    }
}
