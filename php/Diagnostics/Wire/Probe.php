<?php

/**
 * The result of probing one broker.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

final class Probe
{
    /** @var list<string> successful steps: `TCP 2 ms`, `TLSv1.3` */
    public array $passed = [];
    public ?WireException $failure = null;
    public ?Certificate $certificate = null;
    /** @var array{id: ?string, controller: int, brokers: list<array{id: int, host: string, port: int, rack: ?string}>}|null */
    public ?array $cluster = null;
    /** Seconds that this machine's clock is behind the cluster's; null if unknown. */
    public ?float $behind = null;
    /** False if the broker responds, but the cluster's controller does not. */
    public bool $hasController = true;
    /** The connected client, for further requests; null after a failure. */
    public ?ProtocolClient $client = null;

    public function __construct(public readonly string $address)
    {
    }

    public function isReached(): bool
    {
        return $this->cluster !== null;
    }
}
