<?php

declare(strict_types=1);

namespace Toporia\Realtime\Exception;

use RuntimeException;
use Throwable;

/**
 * Names the message of a batch that failed: thrown by publishBatch(), and by a subscribeBatch() callback to report how
 * many messages it handled.
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
     * @param int $index position in the list, starting with 0
     * @param Throwable|null $previous the cause
     */
    public function __construct(private int $index, ?Throwable $previous = null)
    {
        $why = $previous === null ? '' : ': ' . $previous->getMessage();
        parent::__construct("Message $index of the batch failed$why", 0, $previous);
    }

    /**
     * Returns the position of the failed message, starting with 0.
     */
    public function getIndex(): int
    {
        return $this->index;
    }
}
