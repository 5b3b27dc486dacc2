<?php

/**
 * IDE stub of the native BatchException, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;
use Throwable;

/**
 * Which message of a list failed: thrown by publishBatch(), and by a subscribeBatch() callback to say how far it got.
 *
 *     foreach ($messages as $i => $message) {
 *         try {
 *             save($message);
 *         } catch (PDOException $e) {
 *             throw new BatchException($i, $e);   // those before $i count as handled
 *         }
 *     }
 */
class BatchException extends RuntimeException implements RealtimeException
{
    /**
     * @param int $index the position in the list, from 0
     * @param Throwable|null $previous why it failed
     */
    public function __construct(private int $index, ?Throwable $previous = null)
    {
        $why = $previous === null ? '' : ': ' . $previous->getMessage();
        parent::__construct("Message $index of the batch failed$why", 0, $previous);
    }

    /**
     * The position of the message that failed, from 0.
     */
    public function getIndex(): int
    {
        return $this->index;
    }
}
