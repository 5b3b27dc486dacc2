<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Throwable;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * Runs all checks; a failing check only skips those that depend on it.
 */
final class Runner
{
    /**
     * @param list<Check> $checks in order: a check comes after the checks it depends on
     */
    public function __construct(private array $checks, private Report $report, private Secrets $secrets)
    {
    }

    public function run(Context $context): FindingCounts
    {
        $counts = new FindingCounts();
        foreach ($this->checks as $check) {
            foreach ($this->check($check, $context) as $finding) {
                $finding = $this->secrets->redactFinding($finding);
                $counts->add($finding);
                $this->report->finding($check, $finding);
            }
        }

        return $counts;
    }

    /** @return iterable<Finding> */
    private function check(Check $check, Context $context): iterable
    {
        foreach ($check->needs() as $needed) {
            $why = $context->blocked($needed);
            if ($why !== null) {
                // Checks that depend on a skipped one are skipped for the same reason.
                $context->block($check->name(), $why);
                yield Finding::skipped($check->name(), "skipped: $why", $why);

                return;
            }
        }
        try {
            yield from $check->run($context);
        } catch (Throwable $e) {
            $context->block($check->name(), "the check \"{$check->name()}\" failed");
            yield $this->failure($check, $e);
        }
    }

    private function failure(Check $check, Throwable $e): Finding
    {
        if ($e instanceof RealtimeException) {
            return Finding::error(
                $check->name(),
                $e->getMessage(),
                'Run it again; if it persists, check the log of the brokers.'
            );
        }

        return Finding::error(
            $check->name(),
            'could not be checked: ' . $e::class . ': ' . $e->getMessage()
                . ' (' . basename($e->getFile()) . ':' . $e->getLine() . ')',
            'This is a bug in the doctor. Please report this line.'
        );
    }
}
