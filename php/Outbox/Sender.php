<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

use Closure;
use Toporia\Realtime\Contract\Publisher;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Exception\UnknownTopicException;

/**
 * Sends a batch of rows to Kafka and waits for the result of each row. Keeps the order per key: a rejected row blocks
 * later rows of its key.
 *
 * Requires a producer without message timeout: then a waiting message is sent before later ones, however long Kafka is
 * unreachable.
 */
final class Sender
{
    /** Maximum batch size: flush() lists at most this many undelivered messages. */
    public const MAX_BATCH = 1000;
    /** Maximum pause between two checks for acknowledgements, in µs. */
    private const MAX_PAUSE_US = 50_000;
    /** Parts of error messages that make a failure permanent. */
    private const PERMANENT = [
        'size too large',
        'larger than configured',
        'for the same name',
        'Invalid topic',
        'failed to validate record',
        'Bad message format',
        'Invalid argument',
    ];

    /** @var Closure(int): void */
    private Closure $flush;

    /** @param Closure(int): void $flush waits up to the given ms for acknowledgements; throws DeliveryException */
    public function __construct(private Publisher $publisher, Closure $flush)
    {
        $this->flush = $flush;
    }

    /**
     * Sends rows in order.
     *
     * @param list<Row> $rows in the order of their ids
     * @param callable(float, string): bool $waiting called while acknowledgements are missing, with the seconds waited
     *        and the reason; return false to give up
     */
    public function send(array $rows, callable $waiting): RelayResult
    {
        $result = new RelayResult();
        $refused = [];
        $open = $this->publish(array_slice($rows, 0, self::MAX_BATCH), $result, $refused);
        $this->await($open, $result, $refused, $waiting);
        $this->holdBack($refused, $result);

        return $result;
    }

    /**
     * @param list<Row> $rows
     * @param array<int, array{Row, string}> $refused by row id
     *
     * @return array<string, Row> sent but unacknowledged rows, by message id
     */
    private function publish(array $rows, RelayResult $result, array &$refused): array
    {
        $open = [];
        $heldBack = [];
        foreach ($rows as $row) {
            if (isset($heldBack[$row->hash])) {
                continue;
            }
            try {
                $message = $row->message();
            } catch (RealtimeException $e) {
                $result->failed[] = [$row, $e->getMessage()];
                continue;
            }
            try {
                $this->publisher->publish((string) $message->getChannel(), $message);
                $open[$message->getId()] = $row;
            } catch (MessageTooLargeException | InvalidChannelException | EncodingException $e) {
                $result->failed[] = [$row, $e->getMessage()];
            } catch (UnknownTopicException | ConnectionException | DeliveryException $e) {
                $refused[$row->id] = [$row, $e->getMessage()];
                $heldBack[$row->hash] = true;
            } catch (ConfigurationException $e) {
                // A missing master key concerns encrypted channels only; any other wrong setting concerns every row.
                if (!str_starts_with((string) $message->getChannel(), 'private-encrypted-')) {
                    throw $e;
                }
                $refused[$row->id] = [$row, $e->getMessage()];
                $heldBack[$row->hash] = true;
            } catch (QueueFullException) {
                // Send the queued messages first; the remaining rows belong to the next batch.
                break;
            }
        }

        return $open;
    }

    /**
     * @param array<string, Row> $open
     * @param array<int, array{Row, string}> $refused
     * @param callable(float, string): bool $waiting
     */
    private function await(array $open, RelayResult $result, array &$refused, callable $waiting): void
    {
        $start = hrtime(true);
        $pause = 250;
        while ($open !== []) {
            try {
                // Only check here; the waiting is done below, where PHP handles signals promptly.
                ($this->flush)(0);
                array_push($result->sent, ...array_values($open));

                return;
            } catch (DeliveryException $e) {
                $reason = $this->sort($e, $open, $result, $refused);
            }
            if ($open !== [] && !$waiting((hrtime(true) - $start) / 1e9, $reason)) {
                $result->unknown = count($open);

                return;
            }
            if ($open !== []) {
                usleep($pause);
                $pause = min(self::MAX_PAUSE_US, $pause * 2);
            }
        }
    }

    /**
     * Removes the rows with a known result from $open.
     *
     * @param array<string, Row> $open
     * @param array<int, array{Row, string}> $refused
     */
    private function sort(DeliveryException $e, array &$open, RelayResult $result, array &$refused): string
    {
        $failed = $e->getFailed();
        $queued = [];
        foreach ($failed as ['id' => $id, 'reason' => $reason]) {
            $row = $open[$id] ?? null;
            if ($row === null) {
                continue;
            }
            if (str_contains($reason, 'still queued')) {
                $queued[$id] = $row;
                continue;
            }
            unset($open[$id]);
            if (self::isPermanent($reason)) {
                $result->failed[] = [$row, $reason];
            } else {
                $refused[$row->id] = [$row, $reason];
            }
        }
        // Messages not listed are delivered, unless failures of other messages have filled the list.
        if (count($failed) < self::MAX_BATCH) {
            array_push($result->sent, ...array_values(array_diff_key($open, $queued)));
            $open = $queued;
        }

        return $e->getMessage();
    }

    /**
     * Per key, the first rejected row waits for a retry and blocks the later ones.
     *
     * @param array<int, array{Row, string}> $refused
     */
    private function holdBack(array $refused, RelayResult $result): void
    {
        ksort($refused);
        $heldBack = [];
        foreach ($refused as [$row, $reason]) {
            if (!isset($heldBack[$row->hash])) {
                $heldBack[$row->hash] = true;
                $result->retry[] = [$row, $reason];
            }
        }
    }

    private static function isPermanent(string $reason): bool
    {
        foreach (self::PERMANENT as $words) {
            if (stripos($reason, $words) !== false) {
                return true;
            }
        }

        return false;
    }
}
