<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Console\Output\StreamOutput;
use Symfony\Component\Console\Terminal as SymfonyTerminal;

/** The output of a command: permanent lines, a status line that is rewritten in place, or a screen that is redrawn. */
class Terminal
{
    private const ERASE_LINE = "\r\e[2K";
    private const ERASE_TO_END_OF_LINE = "\e[K";
    private const ERASE_BELOW = "\e[J";
    private const ERASE_ALL = "\e[2J";
    private const HOME = "\e[H";

    private bool $interactive;
    private string $status = '';
    private bool $drawn = false;

    /** @param bool|null $interactive null: detect */
    public function __construct(private OutputInterface $output, ?bool $interactive = null)
    {
        $this->interactive = $interactive
            ?? ($output instanceof StreamOutput ? stream_isatty($output->getStream()) : $output->isDecorated());
    }

    /** True if the output is a terminal rather than a file or a pipe. */
    public function isInteractive(): bool
    {
        return $this->interactive;
    }

    /** Width of the terminal in characters; 0 if the output is not a terminal: no limit. */
    public function width(): int
    {
        return $this->interactive ? (new SymfonyTerminal())->getWidth() : 0;
    }

    /** Writes a permanent line. */
    public function line(string $text): void
    {
        // One write, so that a line of another process cannot get in between.
        $erase = $this->status === '' ? '' : self::ERASE_LINE;
        $this->output->write($erase . $text . PHP_EOL . $this->status, false, OutputInterface::OUTPUT_RAW);
    }

    /** Replaces the status line; an empty text removes it. Ignored if the output is not a terminal. */
    public function status(string $text): void
    {
        if (!$this->interactive) {
            return;
        }
        // A line that wraps could not be erased.
        $text = Text::shorten($text, max(20, $this->width() - 1));
        if ($text !== $this->status) {
            $this->output->write(self::ERASE_LINE . $text, false, OutputInterface::OUTPUT_RAW);
            $this->status = $text;
        }
    }

    /**
     * Redraws on a terminal, limited to its height; otherwise appends, with an empty line in between.
     *
     * @param list<string> $lines
     */
    public function draw(array $lines): void
    {
        $first = !$this->drawn;
        $this->drawn = true;
        if (!$this->interactive) {
            $this->output->writeln($first ? $lines : ['', ...$lines], OutputInterface::OUTPUT_RAW);

            return;
        }
        $most = max(5, (new SymfonyTerminal())->getHeight() - 1);
        if (count($lines) > $most) {
            $lines = [...array_slice($lines, 0, $most - 1), '…'];
        }
        $shorten = fn (string $line): string => Text::shorten($line, $this->width()) . self::ERASE_TO_END_OF_LINE . "\n";
        // A single write, because a partial screen would flicker.
        $this->output->write(
            ($first ? self::ERASE_ALL : '') . self::HOME . implode('', array_map($shorten, $lines)) . self::ERASE_BELOW,
            false,
            OutputInterface::OUTPUT_RAW
        );
    }
}
