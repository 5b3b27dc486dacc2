<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Throwable;
use Toporia\Realtime\Message;

/**
 * Reports a worker's progress, as text or as JSON. Implemented by TextReporter (for a terminal or a log) and
 * JsonReporter (JSON lines).
 */
interface Reporter
{
    /**
     * Identifies this worker, before it connects.
     */
    public function start(ConsumeOptions $options, string $group, string $handledBy): void;

    /**
     * An event worth its own line: partitions assigned, waiting for a topic, Kafka lost or back.
     *
     * @param string $type machine-readable name: `assigned`
     * @param string $text readable text
     * @param array<string, mixed> $facts machine-readable details
     */
    public function event(string $type, string $text, array $facts = []): void;

    /**
     * Called before a handler runs, so that its own output does not follow a status line.
     */
    public function beforeHandler(): void;

    /**
     * Prints a message, when no handler is configured.
     */
    public function message(Message $message): void;

    /**
     * The current state; called several times per second, reported at the reporter's own interval.
     */
    public function progress(Snapshot $now): void;

    /**
     * Reports the failure that ended the worker.
     */
    public function failure(Throwable $e): void;

    /**
     * Reports the result of the run.
     */
    public function summary(Summary $summary): void;
}
