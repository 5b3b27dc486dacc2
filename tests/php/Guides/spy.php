<?php

/**
 * A proxy between a client and a Kafka broker that prints the contents of each produce and fetch request.
 *
 *     php spy.php 127.0.0.1:9092        prints {"port": …}, then a line for each request
 */

declare(strict_types=1);

[$host, $port] = explode(':', $argv[1]);
$server = stream_socket_server('tcp://127.0.0.1:0');
$own = (int) substr((string) strrchr((string) stream_socket_get_name($server, false), ':'), 1);
echo json_encode(['port' => $own]), "\n";

/** The offset of a request's body: after key, version, correlation id and client id. */
$body = static function (string $frame, bool $flexible): int {
    $length = unpack('n', $frame, 8)[1];

    return 10 + ($length === 0xffff ? 0 : $length) + ($flexible ? 1 : 0);
};
$report = static function (string $frame) use ($body): void {
    ['key' => $key, 'version' => $version] = unpack('nkey/nversion', $frame);
    if ($key === 0) {
        // A record batch: base offset 0, length, epoch, magic 2, checksum, attributes (the codec in three bits), records - 1.
        $batch = '/\x00{8}(?<length>.{4}).{4}\x02.{4}(?<attributes>.{2})(?<last>.{4})/s';
        preg_match_all($batch, $frame, $found, PREG_SET_ORDER);
        foreach ($found as $one) {
            echo json_encode([
                'api' => 'produce',
                'at' => microtime(true),
                'codec' => unpack('n', $one['attributes'])[1] & 7,
                'records' => unpack('N', $one['last'])[1] + 1,
                'bytes' => unpack('N', $one['length'])[1],
            ]), "\n";
        }
    } elseif ($key === 1) {
        $at = $body($frame, $version >= 12) + ($version < 15 ? 4 : 0);
        $fetch = unpack('Nwait/Nleast', $frame, $at);
        // After wait, minimum, maximum, isolation level and session: the number of topics, then the first one's name or
        // id.
        $at += 12 + 1 + ($version >= 7 ? 8 : 0) + ($version >= 12 ? 1 : 4);
        $at += match (true) {
            $version >= 13 => 16,
            $version === 12 => ord($frame[$at] ?? "\0"),
            default => 2 + (unpack('n', $frame . "\0\0", $at)[1] ?? 0),
        };
        // The number of partitions; number, epochs and offsets of the first one.
        $at += ($version >= 12 ? 1 : 4) + 4 + 8 + ($version >= 9 ? 4 : 0) + ($version >= 12 ? 4 : 0) + ($version >= 5 ? 8 : 0);
        if (strlen($frame) >= $at + 4) {
            echo json_encode([
                'api' => 'fetch',
                'max_wait' => $fetch['wait'],
                'min_bytes' => $fetch['least'],
                'partition_bytes' => unpack('N', $frame, $at)[1],
            ]), "\n";
        }
    }
};

$pairs = $buffers = [];
while (true) {
    $read = array_merge([$server], array_column($pairs, 0), array_column($pairs, 1));
    $write = $except = null;
    if (@stream_select($read, $write, $except, 1) === false) {
        continue;
    }
    foreach ($read as $stream) {
        if ($stream === $server) {
            $client = stream_socket_accept($server);
            $pairs[] = [$client, stream_socket_client("tcp://$host:$port")];
            $buffers[] = '';
            continue;
        }
        foreach ($pairs as $i => [$client, $broker]) {
            if ($stream !== $client && $stream !== $broker) {
                continue;
            }
            $bytes = (string) fread($stream, 1 << 20);
            if ($bytes === '' && feof($stream)) {
                fclose($client);
                fclose($broker);
                unset($pairs[$i], $buffers[$i]);
                continue 2;
            }
            if ($stream === $broker) {
                // The broker advertises its own address; clients must connect to the proxy instead.
                foreach (['127.0.0.1', 'localhost'] as $name) {
                    $bytes = str_replace($name . pack('N', $port), $name . pack('N', $own), $bytes);
                }
                fwrite($client, $bytes);
                continue 2;
            }
            fwrite($broker, $bytes);
            $buffers[$i] .= $bytes;
            while (strlen($buffers[$i]) >= 4 && strlen($buffers[$i]) - 4 >= ($length = unpack('N', $buffers[$i])[1])) {
                $report(substr($buffers[$i], 4, $length));
                $buffers[$i] = substr($buffers[$i], 4 + $length);
            }
        }
    }
}
