<?php

/**
 * How a worker tells what it does: for people or for programs.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Throwable;
use Toporia\Realtime\Message;

/**
 * One implementation for people (TextReporter), one that writes JSON lines (JsonReporter).
 */
interface Reporter
{
    /**
     * Who this worker is, before it connects.
     */
    public function start(ConsumeOptions $options, string $group, string $handledBy): void;

    /**
     * Something worth a line: partitions assigned, a topic waited for, Kafka gone or back.
     *
     * @param string $type a word for programs: `assigned`
     * @param string $text the same for people
     * @param array<string, mixed> $facts details for programs
     */
    public function event(string $type, string $text, array $facts = []): void;

    /**
     * A handler is about to run: what it prints itself must not land behind a status line.
     */
    public function beforeHandler(): void;

    /**
     * A message, where printing is all that is done with it.
     */
    public function message(Message $message): void;

    /**
     * Where the worker stands; called a few times a second, told at the reporter's own pace.
     */
    public function progress(Snapshot $now): void;

    /**
     * Why it failed.
     */
    public function failure(Throwable $e): void;

    /**
     * The last word.
     */
    public function summary(Summary $summary): void;
}
