<?php

/**
 * A terminal that keeps the written text.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use Symfony\Component\Console\Output\NullOutput;
use Toporia\Realtime\Worker\Terminal;

final class FakeTerminal extends Terminal
{
    /** @var list<string> */
    public array $lines = [];
    /** @var list<string> */
    public array $statuses = [];

    public function __construct(bool $interactive = false)
    {
        parent::__construct(new NullOutput(), $interactive);
    }

    public function line(string $text): void
    {
        $this->lines[] = $text;
    }

    public function status(string $text): void
    {
        $this->statuses[] = $text;
    }

    public function text(): string
    {
        return implode("\n", $this->lines);
    }
}
