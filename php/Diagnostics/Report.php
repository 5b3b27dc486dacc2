<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Symfony\Component\Console\Formatter\OutputFormatter;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Worker\Text;

/**
 * Counts the findings and writes each immediately: as text, with its remedy below it, under the heading of its check; or
 * as JSON, one object per line, the last is the summary.
 * `{"type":"finding","check":"brokers","level":"error","subject":"…","text":"…","remedy":"…",…}`
 */
final class Report
{
    private const STYLES = [
        'ok' => 'fg=green', 'warning' => 'fg=yellow', 'error' => 'fg=red;options=bold', 'skipped' => 'fg=gray',
    ];
    private const INDENT = '           ';

    /** @var array<string, int> findings by level */
    public array $counts = ['ok' => 0, 'warning' => 0, 'error' => 0, 'skipped' => 0];
    /** The first error: later ones may be its consequences. */
    private ?Finding $first = null;
    private string $heading = '';
    /** @var array<string, list<string>> titles of skipped checks, by reason */
    private array $skipped = [];

    public function __construct(private OutputInterface $output, private bool $json = false)
    {
    }

    public function begin(Context $context): void
    {
        if ($this->json) {
            $this->line(Text::json([
                'type' => 'start',
                'time' => gmdate('Y-m-d\TH:i:s\Z'),
                'host' => gethostname() ?: null,
                'broker' => $context->settings['broker'] ?? $context->options->broker,
                'topic_prefix' => $context->settings['topic_prefix'] ?? null,
                'group' => $context->group,
            ]));
        } else {
            $this->line('realtime:doctor, ' . gmdate('Y-m-d H:i:s') . ' UTC on ' . (gethostname() ?: 'this machine')
                . ($context->settings === [] ? '' : ": broker \"{$context->settings['broker']}\", topic prefix \""
                . "{$context->settings['topic_prefix']}\", group \"$context->group\""));
        }
    }

    public function finding(Check $check, Finding $finding): void
    {
        $level = $finding->level;
        $this->counts[$level]++;
        if ($level === Finding::ERROR) {
            $this->first ??= $finding;
        }
        if ($this->json) {
            $this->line(Text::json(array_filter([
                'type' => 'finding',
                'check' => $check::NAME,
                'level' => $level,
                'subject' => $finding->subject,
                'text' => $finding->text,
                'remedy' => $finding->remedy,
            ] + $finding->facts, static fn (mixed $value): bool => $value !== null)));

            return;
        }
        $because = $finding->facts['because'] ?? null;
        if (is_string($because)) {
            // A single problem can cause many skipped checks: listed once, at the end.
            $this->skipped[$because][] = $finding->subject;

            return;
        }
        if ($check::TITLE !== $this->heading) {
            $this->heading = $check::TITLE;
            $this->output->writeln("\n<options=bold>" . OutputFormatter::escape($this->heading) . '</>');
        }
        $text = Text::printable(($finding->subject === '' ? '' : "$finding->subject: ") . $finding->text);
        $this->output->writeln(
            '<' . self::STYLES[$level] . '>' . str_pad($level, 9) . '</>  ' . OutputFormatter::escape($text)
        );
        if ($finding->remedy !== null) {
            $this->line(self::INDENT . '→ ' . Text::printable($finding->remedy));
        }
    }

    /**
     * Writes the summary.
     *
     * @param bool $strict warnings count as errors
     *
     * @return int the exit code: 1 if there is an error
     */
    public function end(float $seconds, bool $strict): int
    {
        $code = $this->counts['error'] > 0 || $strict && $this->counts['warning'] > 0 ? 1 : 0;
        if ($this->json) {
            $this->line(Text::json(
                ['type' => 'summary'] + $this->counts + ['seconds' => round($seconds, 3), 'exit_code' => $code]
            ));

            return $code;
        }
        foreach ($this->skipped as $because => $checks) {
            $this->line("\n" . Text::printable("Skipped because $because: " . implode(', ', $checks) . '.'));
        }
        $this->line('');
        if ($this->first !== null && $this->counts['error'] > 1) {
            $this->line('Start with: ' . Text::printable("{$this->first->subject}: {$this->first->text}"));
            $this->line('          → ' . Text::printable((string) $this->first->remedy));
            $this->line('');
        }
        $levels = [];
        foreach (array_filter($this->counts) as $level => $count) {
            $levels[] = "$count $level";
        }
        $summary = match (true) {
            $this->counts['error'] > 0 => 'Errors found',
            $this->counts['warning'] > 0 => 'No errors, but warnings',
            default => 'Healthy',
        };
        $this->line(sprintf('%s: %s, in %.1f s.', $summary, implode(', ', $levels), $seconds));

        return $code;
    }

    private function line(string $text): void
    {
        $this->output->writeln($text, OutputInterface::OUTPUT_RAW);
    }
}
