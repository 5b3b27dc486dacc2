<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/**
 * A single check of the doctor. Checks do not modify anything (except the one for --write) and print nothing: they
 * return findings.
 */
abstract class Check
{
    /** The name used in --json and by other checks: `brokers`. */
    public const NAME = '';
    /** The heading of its findings: `Brokers`. */
    public const TITLE = '';
    /** The names of the checks that must not be blocked for this one to run. */
    public const NEEDS = [];

    /**
     * Runs the check. An exception becomes an error, and the other checks continue.
     *
     * @return iterable<Finding>
     */
    abstract public function run(Context $context): iterable;
}
