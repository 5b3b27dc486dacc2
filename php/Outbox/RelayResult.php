<?php

/**
 * What became of a batch of rows.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Outbox;

/**
 * A row that is in none of the lists was not sent, or nobody knows: it stays as it is.
 */
final class RelayResult
{
    /** @var list<Row> acknowledged by Kafka */
    public array $sent = [];
    /** @var list<array{Row, string}> refused for now, with the reason; one for each key, the first */
    public array $retry = [];
    /** @var list<array{Row, string}> can never be sent, with the reason */
    public array $failed = [];
    /** How many were handed to Kafka and not acknowledged when waiting for it was given up. */
    public int $unknown = 0;
}
