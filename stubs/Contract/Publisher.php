<?php

declare(strict_types=1);

namespace Toporia\Realtime\Contract;

use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\HopLimitException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Message;

/**
 * Sends messages: Broker sends them to Kafka, Testing\RealtimeFake records them, and an application can pass its own
 * implementation to Realtime::swap().
 *
 * "Sent" means accepted into the producer queue: the call returns within microseconds and Kafka acknowledges later. Use
 * Realtime::flush() to wait, or the setting `produce: sync`.
 */
interface Publisher
{
    /**
     * Sends one message to a channel.
     *
     * @param string $channel overrides the channel of the message, also in the envelope, which decides who receives it
     * @param Message $message sent with its own id; on its own channel, an unchanged message received from Kafka is
     *        sent byte for byte
     * @param string|null $key record key, which selects the partition; null: the key of the message or else the
     *        channel, which preserves the order within the channel
     * @param array<string, scalar|list<scalar|null>|null> $headers
     *        added to the message's own record headers; a list: several of this name
     *
     * @return string the message id
     *
     * @throws InvalidChannelException a channel that is empty, unprintable, or too long for a topic (245 bytes)
     * @throws EncodingException data that cannot be encoded as JSON
     * @throws MessageTooLargeException larger than `message.max.bytes`
     * @throws QueueFullException the producer queue stayed full for `queue_full_ms`
     * @throws UnknownTopicException the topic does not exist and cannot be created
     * @throws HopLimitException the message was forwarded more than `max_hops` times
     * @throws ConnectionException only with `produce: sync`
     */
    public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string;

    /**
     * Sends several messages and waits for the acknowledgements of Kafka.
     *
     *     $result = $broker->publishBatch([
     *         ['user.1', 'order.created', ['id' => 7]],
     *         Message::event('user.2', 'order.paid', ['id' => 8]),
     *     ]);
     *
     * @param array<int, Message|array{0: string, 1: string, 2?: mixed, 3?: string|null, 4?: array<string, string>}>
     *        $messages each a Message with a channel, or [channel, event, data, key, headers] (the last two optional)
     * @param int $flushTimeoutMs maximum wait for the acknowledgements in ms; 0: do not wait
     *
     * @return array{queued: int, failed: int, total_time_ms: float, throughput: float} throughput in messages per
     *        second
     *
     * @throws BatchException an entry cannot be sent; see getIndex() and getPrevious(); earlier entries are already
     *        queued
     * @throws ConfigurationException invalid configuration
     */
    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array;

    /**
     * Sends a value to a Kafka topic without channel and envelope.
     *
     * @param string $topic full name of the topic; no prefix is added
     * @param mixed $value a string is sent unchanged, null is a tombstone (for compacted topics), other values as JSON
     * @param string|null $key the record key
     * @param array<string, scalar|list<scalar|null>|null> $headers record headers; a list: several of this name
     * @param int|null $partition target partition; null: selected by the key (murmur2, as in Java and KafkaJS)
     *
     * @return string id of this record in errors and logs
     *
     * @throws EncodingException a value that cannot be encoded as JSON
     * @throws MessageTooLargeException larger than `message.max.bytes`
     * @throws QueueFullException the producer queue stayed full for `queue_full_ms`
     * @throws UnknownTopicException the topic or the partition does not exist
     * @throws DeliveryException only with `produce: sync`
     */
    public function send(
        string $topic,
        mixed $value,
        ?string $key = null,
        array $headers = [],
        ?int $partition = null
    ): string;
}
