<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Queue;

use Toporia\Realtime\Dlq\Headers;
use Toporia\Realtime\Message;

/**
 * A message serialized for Laravel's queue. Keeps id, content, key and headers, but not topic, partition and offset.
 */
final class StoredMessage
{
    /**
     * @param string $envelope the JSON of the message; in base64 if it is not UTF-8, which queues cannot store
     * @param string $rest key and headers, which may contain any bytes
     */
    private function __construct(private string $envelope, private bool $encoded, private string $rest)
    {
    }

    public static function of(Message $message): self
    {
        $envelope = $message->toJson();
        if ($message->getType() !== 'raw' && Message::fromJson($envelope)->getId() !== $message->getId()) {
            // An envelope without an id would get another one at every attempt of the job.
            $members = trim(substr(trim($envelope), 1, -1));
            $envelope = '{' . ($members === '' ? '' : "$members,") . '"id":' . json_encode($message->getId()) . '}';
        }
        $encoded = preg_match('//u', $envelope) !== 1;

        return new self(
            $encoded ? base64_encode($envelope) : $envelope,
            $encoded,
            base64_encode(serialize([$message->getKey(), Headers::of($message)]))
        );
    }

    public function message(): Message
    {
        $envelope = $this->encoded ? (string) base64_decode($this->envelope, true) : $this->envelope;
        [$key, $headers] = unserialize((string) base64_decode($this->rest, true), ['allowed_classes' => false]);

        return Message::fromJson($envelope)->withKey($key)->withHeaders($headers);
    }
}
