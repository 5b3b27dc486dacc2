<?php

/**
 * A terminal that keeps the written text.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use Toporia\Realtime\Worker\Terminal;

final class FakeTerminal implements Terminal
{
    /** @var list<string> */
    public array $lines = [];
    /** @var list<string> */
    public array $statuses = [];

    public function __construct(private bool $interactive = false)
    {
    }

    public function line(string $text): void
    {
        $this->lines[] = $text;
    }

    public function status(string $text): void
    {
        $this->statuses[] = $text;
    }

    public function isInteractive(): bool
    {
        return $this->interactive;
    }

    public function text(): string
    {
        return implode("\n", $this->lines);
    }
}
