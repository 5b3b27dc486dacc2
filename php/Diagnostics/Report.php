<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/**
 * Receives the findings; implemented for text and JSON.
 */
interface Report
{
    public function begin(Context $context): void;

    public function finding(Check $check, Finding $finding): void;

    public function end(FindingCounts $counts, float $seconds, int $exitCode): void;
}
