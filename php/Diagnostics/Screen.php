<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Console\Terminal;
use Toporia\Realtime\Console\OutputTerminal;
use Toporia\Realtime\Worker\Text;

/**
 * Writes lines, or redraws them in place on a terminal. Writes raw text: a topic name must not be parsed as formatting.
 */
final class Screen
{
    private const HOME = "\033[H";
    private const ERASE_LINE = "\033[K";
    private const ERASE_BELOW = "\033[J";
    private const ERASE_ALL = "\033[2J";

    private bool $drawn = false;

    public function __construct(private OutputInterface $output)
    {
    }

    /**
     * Width of the terminal in characters; 0 if the output is not a terminal: no limit. COLUMNS overrides it.
     */
    public static function width(OutputInterface $output): int
    {
        $terminal = (new OutputTerminal($output))->isInteractive() || getenv('COLUMNS') !== false;

        return $terminal ? (new Terminal())->getWidth() : 0;
    }

    /** @param list<string> $lines */
    public function write(array $lines): void
    {
        foreach ($lines as $line) {
            $this->output->writeln($line, OutputInterface::OUTPUT_RAW);
        }
    }

    /**
     * Redraws on a terminal, limited to its height; otherwise appends, with an empty line in between.
     *
     * @param list<string> $lines
     */
    public function draw(array $lines): void
    {
        if (!(new OutputTerminal($this->output))->isInteractive()) {
            $this->write($this->drawn ? ['', ...$lines] : $lines);
            $this->drawn = true;

            return;
        }
        $terminal = new Terminal();
        $most = max(5, $terminal->getHeight() - 1);
        if (count($lines) > $most) {
            $lines = [...array_slice($lines, 0, $most - 1), '…'];
        }
        $lines = array_map(static fn (string $line): string => Text::shorten($line, $terminal->getWidth()), $lines);
        // A single write, because a partial screen would flicker.
        $this->output->write(
            ($this->drawn ? '' : self::ERASE_ALL) . self::HOME
                . implode('', array_map(static fn (string $line): string => $line . self::ERASE_LINE . "\n", $lines))
                . self::ERASE_BELOW,
            false,
            OutputInterface::OUTPUT_RAW
        );
        $this->drawn = true;
    }
}
