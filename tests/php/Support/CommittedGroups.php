<?php

/**
 * Commits offsets for many consumer groups quickly, as a client without membership may: hand-written Kafka requests on
 * one connection.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use RuntimeException;

final class CommittedGroups
{
    private const OFFSET_COMMIT = 8;
    private const VERSION = 2;
    private const AT_ONCE = 100;

    /**
     * @param string $address of the only broker, which so looks after every group
     * @param array<string, int> $groups offset by group
     */
    public static function commit(string $address, string $topic, int $partition, array $groups): void
    {
        $socket = stream_socket_client("tcp://$address", $code, $message, 10.0)
            ?: throw new RuntimeException("No connection to $address: $message");
        stream_set_timeout($socket, 20);
        foreach (array_chunk($groups, self::AT_ONCE, true) as $some) {
            $requests = '';
            foreach ($some as $group => $offset) {
                $requests .= self::request((string) $group, $topic, $partition, $offset);
            }
            fwrite($socket, $requests);
            foreach ($some as $group => $_) {
                self::check((string) $group, self::read($socket, (int) unpack('N', self::read($socket, 4))[1]));
            }
        }
        fclose($socket);
    }

    private static function request(string $group, string $topic, int $partition, int $offset): string
    {
        $text = static fn (string $text): string => pack('n', strlen($text)) . $text;
        $body = pack('nnN', self::OFFSET_COMMIT, self::VERSION, 0) . $text('tests')
            // No generation, no member, the broker's default retention; one topic, one partition.
            . $text($group) . pack('N', 0xffffffff) . $text('') . pack('J', -1)
            . pack('N', 1) . $text($topic) . pack('N', 1) . pack('NJ', $partition, $offset) . $text('');

        return pack('N', strlen($body)) . $body;
    }

    private static function check(string $group, string $answer): void
    {
        $error = unpack('n', substr($answer, -2))[1];
        if ($error !== 0) {
            throw new RuntimeException("Kafka refuses the commit of $group with error $error.");
        }
    }

    /** @param resource $socket */
    private static function read($socket, int $bytes): string
    {
        $read = '';
        while (strlen($read) < $bytes) {
            $more = fread($socket, $bytes - strlen($read));
            if ($more === false || $more === '') {
                throw new RuntimeException('Kafka closed the connection.');
            }
            $read .= $more;
        }

        return $read;
    }
}
