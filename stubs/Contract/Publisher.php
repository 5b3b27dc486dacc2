<?php

/**
 * The sending half of a broker, as an application should ask for it in a constructor.
 */

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
 * Whatever can send messages: Broker does through Kafka, Testing\RealtimeFake records them, and an application may
 * hand its own to Realtime::swap().
 *
 * "Sent" means accepted into the producer's queue: the call returns in microseconds and Kafka acknowledges later. Use
 * Realtime::flush() to wait, or the setting `produce: sync`.
 */
interface Publisher
{
    /**
     * Sends one message to a channel.
     *
     * @param string $channel the channel; it wins over the one in the message
     * @param Message $message sent with its own id; one that came from Kafka and is unchanged keeps its bytes
     * @param string|null $key the record key, which decides the partition; null: the message's key, else the channel,
     *        so that a channel keeps its order
     * @param array<string, string> $headers record headers, added to the message's own
     *
     * @return string the message id
     *
     * @throws InvalidChannelException a channel that is empty, unprintable, or too long for a topic (245 bytes)
     * @throws EncodingException data that is no JSON
     * @throws MessageTooLargeException larger than `message.max.bytes`
     * @throws QueueFullException the queue stayed full for `queue_full_ms`
     * @throws UnknownTopicException the topic does not exist and may not be created
     * @throws HopLimitException the message went round more than `max_hops` times
     * @throws ConnectionException only with `produce: sync`
     */
    public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string;

    /**
     * Sends many messages and waits until Kafka has them.
     *
     *     $result = $broker->publishBatch([
     *         ['user.1', 'order.created', ['id' => 7]],
     *         Message::event('user.2', 'order.paid', ['id' => 8]),
     *     ]);
     *
     * @param array<int, Message|array{0: string, 1: string, 2?: mixed, 3?: string|null, 4?: array<string, string>}>
     *        $messages each a Message with a channel, or [channel, event, data, key, headers] (the last two optional)
     * @param int $flushTimeoutMs how long to wait for the acknowledgements, in ms; 0: do not wait
     *
     * @return array{queued: int, failed: int, total_time_ms: float, throughput: float} throughput in messages a second
     *
     * @throws BatchException an entry cannot be sent; getIndex() says which, getPrevious() why; those before it are
     *         already queued
     * @throws ConfigurationException an impossible configuration
     */
    public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array;

    /**
     * Sends a value to a Kafka topic as it is, with no channel and no envelope.
     *
     * @param string $topic the topic's full name, without any prefix of ours
     * @param mixed $value a string is sent as it is, null is a tombstone (for compacted topics), anything else as JSON
     * @param string|null $key the record key
     * @param array<string, string> $headers record headers
     * @param int|null $partition a fixed partition; null: by the key (murmur2, as Java and KafkaJS do)
     *
     * @return string the id given to this record in errors and logs
     *
     * @throws EncodingException a value that is no JSON
     * @throws MessageTooLargeException larger than `message.max.bytes`
     * @throws QueueFullException the queue stayed full for `queue_full_ms`
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
