<?php

/**
 * A publisher that delegates to another one: a test overrides the one method it needs.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Message;
use Toporia\Realtime\Testing\RealtimeFake;

class PublisherDouble implements Publisher
{
    public function __construct(protected Publisher $inner = new RealtimeFake())
    {
    }

    public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string
    {
        return $this->inner->publish($channel, $message, $key, $headers);
    }

    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array
    {
        return $this->inner->publishBatch($messages, $flushTimeoutMs);
    }

    public function send(
        string $topic,
        mixed $value,
        ?string $key = null,
        array $headers = [],
        ?int $partition = null
    ): string {
        return $this->inner->send($topic, $value, $key, $headers, $partition);
    }
}
