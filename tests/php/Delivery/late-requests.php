<?php

/**
 * A proxy of one Kafka broker that loses a connection in the middle of a request, and delivers the request later: TCP
 * does that where a packet or a broker is delayed for longer than the client waits.
 *
 * Arguments: address of the broker, and what is late:
 *
 *     produce   the first Produce request with FIRST, until the one with SECOND is sent
 *     response  nothing: the broker receives that request, but the client never its response
 *     commit    the first EndTxn request, until FIRST is stored
 *     open      the first AddPartitionsToTxn and Produce requests of FIRST, until the client has ended
 *     outcome   nothing: the broker receives the first EndTxn request, but the client never a response to one, until
 *               another client initializes the transactional.id
 *
 * Until the late request was received, the client's connection is closed whenever it sends FIRST again. Prints the
 * port, `lost` and `late`.
 */

declare(strict_types=1);

const PRODUCE = 0;
const INIT_PRODUCER_ID = 22;
const ADD_PARTITIONS = 24;
const END_TXN = 26;
const FIRST = 'of an aborted transaction';
const SECOND = 'of the next transaction';

[, $broker, $late] = $argv;
[$host, $port] = explode(':', $broker);

/** Writes all of it; to a closed socket nothing. */
function send($socket, string $bytes): void
{
    while ($bytes !== '' && ($sent = @fwrite($socket, $bytes)) > 0) {
        $bytes = substr($bytes, $sent);
    }
}

/** @return list<string> the complete requests or responses at the start of a buffer, which keeps the rest */
function take(string &$buffer): array
{
    $frames = [];
    while (strlen($buffer) >= 4 && strlen($buffer) >= ($size = 4 + unpack('N', $buffer)[1])) {
        $frames[] = substr($buffer, 0, $size);
        $buffer = substr($buffer, $size);
    }

    return $frames;
}

/** Sends a request, and returns the responses up to its own; without it if the broker closes the connection. */
function exchange($socket, string $request): array
{
    send($socket, $request);
    [$responses, $buffer] = [[], ''];
    while (($bytes = fread($socket, 65536)) !== '' && $bytes !== false) {
        $buffer .= $bytes;
        foreach (take($buffer) as $response) {
            $responses[] = $response;
            if (substr($response, 4, 4) === substr($request, 8, 4)) {
                return $responses;
            }
        }
    }

    return $responses;
}

$server = stream_socket_server('tcp://127.0.0.1:0');
$own = (int) substr(strrchr(stream_socket_get_name($server, false), ':'), 1);
echo "port $own\n";
// The brokers' addresses in responses become the proxy's.
$address = [$host . pack('N', (int) $port), $host . pack('N', $own)];
/** @var array<int, array{resource, resource, string, string}> client, broker, and what was read of a frame of each */
$connections = [];
/** @var list<array{resource, string}> the lost connections to the broker, and their requests */
$held = [];
$lost = false;

$close = static function (int $id) use (&$connections): void {
    fclose($connections[$id][0]);
    unset($connections[$id]);
};
$release = static function () use (&$held): void {
    foreach ($held as $lost) {
        exchange(...$lost);
    }
    if ($held !== []) {
        echo "late\n";
    }
    $held = [];
};
$forward = static function (
    int $id,
    string $request
) use (
    &$connections,
    &$held,
    &$lost,
    &$late,
    $close,
    $release
): void {
    [$client, $upstream] = $connections[$id];
    $key = unpack('n', $request, 4)[1];
    $is = [
        FIRST => $key === PRODUCE && str_contains($request, FIRST),
        SECOND => $key === PRODUCE && str_contains($request, SECOND),
    ];
    if ($late === 'outcome') {
        $late = $key === INIT_PRODUCER_ID && $lost ? '' : $late;
        if ($late !== '' && $key === END_TXN) {
            if (!$lost) {
                exchange($upstream, $request);
                $lost = true;
            }
            $close($id);
        } else {
            send($upstream, $request);
        }
    } elseif ($late === 'open' && $key === ADD_PARTITIONS && $held === []) {
        $held[] = [$upstream, $request];
        $close($id);
    } elseif (!$lost && ($late === 'commit' ? $key === END_TXN : $is[FIRST])) {
        $lost = true;
        if ($late === 'response') {
            exchange($upstream, $request);
        } else {
            $held[] = [$upstream, $request];
        }
        $close($id);
        echo "lost\n";
    } elseif ($late === 'commit' && $is[FIRST]) {
        foreach (exchange($upstream, $request) as $response) {
            send($client, $response);
        }
        $release();
    } elseif ($is[FIRST]) {
        $close($id);
    } else {
        if ($is[SECOND]) {
            $release();
        }
        send($upstream, $request);
    }
};

while (true) {
    if ($late === 'open' && $lost && $connections === []) {
        $release();
    }
    $read = [$server];
    foreach ($connections as [$client, $upstream]) {
        array_push($read, $client, $upstream);
    }
    $write = $except = null;
    stream_select($read, $write, $except, null);
    if (in_array($server, $read, true) && ($client = @stream_socket_accept($server, 0)) !== false) {
        $connections[] = [$client, stream_socket_client("tcp://$broker"), '', ''];
    }
    foreach (array_keys($connections) as $id) {
        foreach ([0, 1] as $side) {
            if (!isset($connections[$id]) || !in_array($connections[$id][$side], $read, true)) {
                continue;
            }
            $bytes = @fread($connections[$id][$side], 65536);
            if ($bytes === '' || $bytes === false) {
                $close($id);
                continue;
            }
            $connections[$id][2 + $side] .= $bytes;
            foreach (take($connections[$id][2 + $side]) as $frame) {
                if (!isset($connections[$id])) {
                    break;
                }
                if ($side === 0) {
                    $forward($id, $frame);
                } else {
                    send($connections[$id][0], str_replace($address[0], $address[1], $frame));
                }
            }
        }
    }
}
