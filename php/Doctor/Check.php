<?php

/**
 * One thing the doctor looks at.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor;

/**
 * Checks change nothing (only the one of --write does), and say nothing by themselves: they give findings.
 */
interface Check
{
    /**
     * Its name in --json and in the reasons of others: `brokers`.
     */
    public function name(): string;

    /**
     * The heading above its lines: `Brokers`.
     */
    public function title(): string;

    /**
     * The checks without which it has nothing to look at; one that blocked keeps this one from running.
     *
     * @return list<string> names
     */
    public function needs(): array;

    /**
     * Looks. What it throws becomes an error, and the others go on.
     *
     * @return iterable<Finding>
     */
    public function run(Context $context): iterable;
}
