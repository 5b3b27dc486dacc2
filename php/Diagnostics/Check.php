<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/**
 * A single check of the doctor. Checks do not modify anything (except the one for --write) and print nothing: they
 * return findings.
 */
interface Check
{
    /**
     * The name used in --json and by other checks: `brokers`.
     */
    public function name(): string;

    /**
     * The heading of its findings: `Brokers`.
     */
    public function title(): string;

    /**
     * The checks that must not be blocked for this one to run.
     *
     * @return list<string> names
     */
    public function needs(): array;

    /**
     * Runs the check. An exception becomes an error, and the other checks continue.
     *
     * @return iterable<Finding>
     */
    public function run(Context $context): iterable;
}
