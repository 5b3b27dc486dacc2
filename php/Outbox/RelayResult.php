<?php

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * The result of a batch of rows. A row in none of the lists was not sent, or its result is unknown: it is left
 * unchanged.
 */
final class RelayResult
{
    /** @var list<Row> acknowledged by Kafka */
    public array $sent = [];
    /** @var list<array{Row, string}> rejected for now, with the reason; only the first row of each key */
    public array $retry = [];
    /** @var list<array{Row, string}> can never be sent, with the reason */
    public array $failed = [];
    /** Number of rows sent but not acknowledged when the relay stopped waiting. */
    public int $unknown = 0;
}
