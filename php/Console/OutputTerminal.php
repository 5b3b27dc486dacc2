<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Console\Output\StreamOutput;
use Symfony\Component\Console\Terminal as SymfonyTerminal;
use Toporia\Realtime\Worker\Terminal;
use Toporia\Realtime\Worker\Text;

/**
 * Implements Terminal on Symfony's console output. Writes raw text: received data must not be parsed as formatting.
 */
final class OutputTerminal implements Terminal
{
    private const ERASE_LINE = "\r\033[2K";

    private string $status = '';
    private bool $interactive;

    /**
     * @param bool|null $interactive null: detect
     */
    public function __construct(private OutputInterface $output, ?bool $interactive = null)
    {
        $this->interactive = $interactive
            ?? ($output instanceof StreamOutput ? stream_isatty($output->getStream()) : $output->isDecorated());
    }

    public function line(string $text): void
    {
        // One write, so that a line of another process cannot get in between.
        $erase = $this->status === '' ? '' : self::ERASE_LINE;
        $this->output->write($erase . $text . PHP_EOL . $this->status, false, OutputInterface::OUTPUT_RAW);
    }

    public function status(string $text): void
    {
        if (!$this->interactive) {
            return;
        }
        // A line that wraps could not be erased.
        $text = Text::shorten($text, max(20, (new SymfonyTerminal())->getWidth() - 1));
        if ($text !== $this->status) {
            $this->output->write(self::ERASE_LINE . $text, false, OutputInterface::OUTPUT_RAW);
            $this->status = $text;
        }
    }

    public function isInteractive(): bool
    {
        return $this->interactive;
    }
}
