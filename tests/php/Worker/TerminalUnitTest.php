<?php

/**
 * The status line that is rewritten in place: on a terminal only, never mixed with permanent lines.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\TestCase;
use Symfony\Component\Console\Output\BufferedOutput;
use Toporia\Realtime\Worker\Terminal;

final class TerminalUnitTest extends TestCase
{
    public function testTheStatusIsErasedBeforeALineAndRestoredAfterIt(): void
    {
        $output = new BufferedOutput();
        $terminal = new Terminal($output, true);
        $terminal->status('1 handled');
        $terminal->status('1 handled');
        $terminal->line('<info>a line</info>');
        $terminal->status('');
        $terminal->line('the end');
        self::assertSame("\r\e[2K1 handled\r\e[2K<info>a line</info>\n1 handled\r\e[2Kthe end\n", $output->fetch());
    }

    public function testWithoutATerminalThereIsNoStatus(): void
    {
        $output = new BufferedOutput();
        $terminal = new Terminal($output);
        self::assertFalse($terminal->isInteractive());
        $terminal->status('1 handled');
        $terminal->line('a line');
        self::assertSame("a line\n", $output->fetch());
    }

    public function testAStatusNeverWraps(): void
    {
        $output = new BufferedOutput();
        (new Terminal($output, true))->status(str_repeat('é', 500));
        self::assertLessThan(300, mb_strlen($output->fetch(), 'UTF-8'));
    }
}
