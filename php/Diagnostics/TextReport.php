<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Symfony\Component\Console\Formatter\OutputFormatter;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Worker\Text;

/**
 * Writes the report as text. One line per finding, with its remedy below it, under the heading of its check; written
 * immediately.
 */
final class TextReport implements Report
{
    private const STYLES = ['ok' => 'fg=green', 'warning' => 'fg=yellow', 'error' => 'fg=red;options=bold', 'skipped' => 'fg=gray'];
    private const INDENT = '           ';

    private string $heading = '';
    /** @var array<string, list<string>> titles of skipped checks, by reason */
    private array $skipped = [];

    public function __construct(private OutputInterface $output)
    {
    }

    public function begin(Context $context): void
    {
        $this->line('realtime:doctor, ' . gmdate('Y-m-d H:i:s') . ' UTC on ' . (gethostname() ?: 'this machine')
            . ($context->settings === [] ? '' : ": broker \"{$context->settings['broker']}\", topic prefix \""
            . "{$context->settings['topic_prefix']}\", group \"$context->group\""));
    }

    public function finding(Check $check, Finding $finding): void
    {
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
        $level = $finding->level->value;
        $style = self::STYLES[$level];
        $text = Text::printable(($finding->subject === '' ? '' : "$finding->subject: ") . $finding->text);
        $this->output->writeln("<$style>" . str_pad($level, 9) . '</>  ' . OutputFormatter::escape($text));
        if ($finding->remedy !== null) {
            $this->line(self::INDENT . '→ ' . Text::printable($finding->remedy));
        }
    }

    public function end(FindingCounts $counts, float $seconds, int $exitCode): void
    {
        foreach ($this->skipped as $because => $checks) {
            $this->line("\n" . Text::printable("Skipped because $because: " . implode(', ', $checks) . '.'));
        }
        $this->line('');
        if ($counts->first !== null && $counts->of(Level::Error) > 1) {
            $this->line('Start with: ' . Text::printable("{$counts->first->subject}: {$counts->first->text}"));
            $this->line('          → ' . Text::printable((string) $counts->first->remedy));
            $this->line('');
        }
        $levels = [];
        foreach (array_filter($counts->toArray()) as $level => $count) {
            $levels[] = "$count $level";
        }
        $summary = match (true) {
            $counts->of(Level::Error) > 0 => 'Errors found',
            $counts->of(Level::Warning) > 0 => 'No errors, but warnings',
            default => 'Healthy',
        };
        $this->line(sprintf('%s: %s, in %.1f s.', $summary, implode(', ', $levels), $seconds));
    }

    private function line(string $text): void
    {
        $this->output->writeln($text, OutputInterface::OUTPUT_RAW);
    }
}
