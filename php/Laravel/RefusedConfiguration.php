<?php

/**
 * Stands for Kafka while config/realtime.php is wrong: every use says what is wrong with it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Message;

/**
 * Sends nothing: with other settings than those meant, it would reach the wrong Kafka.
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
