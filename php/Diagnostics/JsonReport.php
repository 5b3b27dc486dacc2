<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Worker\Text;

/**
 * Writes the report as JSON: one object per line, the last is the summary.
 * `{"type":"finding","check":"brokers","level":"error","subject":"…","text":"…","remedy":"…",…}`
 */
final class JsonReport implements Report
{
    public function __construct(private OutputInterface $output)
    {
    }

    public function begin(Context $context): void
    {
        $this->write([
            'type' => 'start',
            'time' => gmdate('Y-m-d\TH:i:s\Z'),
            'host' => gethostname() ?: null,
            'broker' => $context->settings['broker'] ?? $context->options->broker,
            'topic_prefix' => $context->settings['topic_prefix'] ?? null,
            'group' => $context->group,
        ]);
    }

    public function finding(Check $check, Finding $finding): void
    {
        $this->write(array_filter([
            'type' => 'finding',
            'check' => $check::NAME,
            'level' => $finding->level->value,
            'subject' => $finding->subject,
            'text' => $finding->text,
            'remedy' => $finding->remedy,
        ] + $finding->facts, static fn (mixed $value): bool => $value !== null));
    }

    public function end(FindingCounts $counts, float $seconds, int $exitCode): void
    {
        $this->write(['type' => 'summary'] + $counts->toArray() + [
            'seconds' => round($seconds, 3),
            'exit_code' => $exitCode,
        ]);
    }

    /** @param array<string, mixed> $object */
    private function write(array $object): void
    {
        $this->output->writeln(Text::json($object), OutputInterface::OUTPUT_RAW);
    }
}
