<?php

/**
 * The message of every benchmark: an order in an envelope of 261 bytes, on one channel.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Bench;

final class Load
{
    public const BYTES = 261;
    public const CHANNEL = 'user.1';
    public const EVENT = 'order.created';
    /** Topic prefixes: of messages written in a benchmark, and of messages prepared for reading. */
    public const WRITTEN = 'bench';
    public const READ = 'benchread';

    /**
     * The topic of the channel below a prefix.
     */
    public static function topic(string $prefix): string
    {
        return $prefix . '_user_1';
    }

    /**
     * The data of message number $n, below 9 million: always of the same length.
     *
     * @return array<string, mixed>
     */
    public static function data(int $n): array
    {
        return [
            'order_id' => 1000000 + $n,
            'status' => 'created',
            'total' => 149.95,
            'currency' => 'EUR',
            'paid' => true,
            'items' => [['sku' => 'TS-1042-XL', 'quantity' => 2]],
        ];
    }

    /**
     * The envelope as an array, as built without the extension. $id has 36 bytes.
     *
     * @return array<string, mixed>
     */
    public static function envelope(string $id, int $n): array
    {
        return [
            'id' => $id,
            'type' => 'event',
            'channel' => self::CHANNEL,
            'event' => self::EVENT,
            'data' => self::data($n),
            'timestamp' => time(),
        ];
    }

    /**
     * The extension's default settings of librdkafka, so that its peers run with the same.
     *
     * @return array<string, string>
     */
    public static function producerProperties(string $brokers): array
    {
        return [
            'bootstrap.servers' => $brokers,
            'partitioner' => 'murmur2_random',
            'linger.ms' => '5',
            'queue.buffering.max.messages' => '1000000',
            'queue.buffering.max.kbytes' => '524288',
            'enable.idempotence' => 'true',
            'acks' => 'all',
        ];
    }

    /**
     * The same for a consumer, with its own group.
     *
     * @return array<string, string>
     */
    public static function consumerProperties(string $brokers, string $group): array
    {
        return [
            'bootstrap.servers' => $brokers,
            'group.id' => $group,
            'auto.offset.reset' => 'earliest',
            'partition.assignment.strategy' => 'cooperative-sticky',
            'queued.min.messages' => '1000000',
            'queued.max.messages.kbytes' => '65536',
            'fetch.wait.max.ms' => '10',
        ];
    }
}
