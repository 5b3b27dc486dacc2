<?php

declare(strict_types=1);

namespace Toporia\Realtime\Testing;

use Toporia\Realtime\Message;
use Toporia\Realtime\Support\Pattern;

/** A message recorded by RealtimeFake. Holds the message and its destination: a channel, or a raw topic for send(). */
final class Sent
{
    /**
     * @param string|null $channel null for send()
     * @param string|null $topic null for a channel
     * @param Message|null $message null for send()
     * @param array<string, string|null|list<string|null>> $headers the record headers, including those of the message; a
     *        list if a name occurs more than once
     * @param mixed $value the value passed to send()
     */
    public function __construct(
        public readonly ?string $channel,
        public readonly ?string $topic,
        public readonly ?Message $message,
        public readonly ?string $key,
        public readonly array $headers,
        public readonly mixed $value = null
    ) {
    }

    /**
     * True for a broadcast with this channel and event for which the closure returns true. Null matches anything.
     *
     * @param string|null $channel a channel or a pattern such as `user.*`
     * @param (callable(Message): bool)|null $where
     */
    public function matches(?string $channel, ?string $event, ?callable $where): bool
    {
        return $this->message !== null
            && $this->channel !== null
            && ($channel === null || Pattern::matches($channel, $this->channel))
            && ($event === null || $this->message->getEvent() === $event)
            && ($where === null || (bool) $where($this->message));
    }

    /** Describes it for failure messages: `'order.created' on 'user.1' {"id":7}`. */
    public function describe(): string
    {
        if ($this->message === null) {
            return "a record to topic '$this->topic'";
        }
        $data = $this->message->getData();
        $json = $data === null ? '' : ' ' . json_encode($data, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
        if (strlen($json) > 200) {
            $json = preg_replace('/[\xc0-\xff][\x80-\xbf]*\z/', '', substr($json, 0, 200)) . '…';
        }

        return "'" . $this->message->getEvent() . "' on '$this->channel'$json";
    }
}
