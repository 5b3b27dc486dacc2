<?php

/**
 * Tables and texts of the operations commands: narrow terminals, unusual names, rates, times.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Diagnostics\Table;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

final class TableUnitTest extends TestCase
{
    private const COLUMNS = ['NAME' => Table::TEXT, 'LAG' => Table::NUMBER, 'NOTE' => Table::TEXT];

    public function testColumnsAreAlignedAndEmptyOnesLeftOut(): void
    {
        self::assertSame(
            ['NAME    LAG', 'a     1,000', 'né"w      7'],
            Table::lines(self::COLUMNS, [['a', '1,000', ''], ['né"w', '7', '']])
        );
        self::assertSame(['NAME  LAG  NOTE'], Table::lines(self::COLUMNS, []));
    }

    public function testANarrowTerminalShortensTheWidestText(): void
    {
        $row = [str_repeat('n', 60), '1,234,567', str_repeat('x', 30)];
        foreach ([120, 80, 60, 40] as $width) {
            $lines = Table::lines(self::COLUMNS, [$row], $width);
            self::assertLessThanOrEqual($width, max(array_map(mb_strlen(...), $lines)));
            self::assertStringContainsString('1,234,567', $lines[1], 'numbers stay whole');
        }
        self::assertStringContainsString($row[2], Table::lines(self::COLUMNS, [$row], 90)[1], 'the wider one gave way');
    }

    public function testControlCharactersNeverReachATerminal(): void
    {
        self::assertStringNotContainsString("\e", implode('', Table::lines(self::COLUMNS, [["a\e[31m", '1', '']])));
    }

    public function testTimesAndRates(): void
    {
        foreach (
            ['0.2' => '< 1 s', '1' => '1 s', '59.2' => '1 min', '61' => '1 min 1 s', '3600' => '1 h',
            '93600' => '1 d 2 h', '90061' => '1 d 1 h', '86460' => '1 d'] as $given => $words
        ) {
            self::assertSame($words, Text::seconds((float) $given));
        }
        $rates = ['0' => '0', '0.01' => '0.1', '0.44' => '0.4', '3' => '3', '9.99' => '10', '1204.4' => '1,204'];
        foreach ($rates as $rate => $words) {
            self::assertSame($words, Text::rate((float) $rate));
        }
        self::assertSame(['unlimited', '500 ms', '7 d'], array_map(Text::retention(...), [-1, 500, 604_800_000]));
    }

    public function testRetentionAsTheConfigurationWritesIt(): void
    {
        $given = [null, '-1', '60000', '30min', '12h', '7d', '2w', '5 d'];
        $ms = [null, -1, 60_000, 1_800_000, 43_200_000, 604_800_000, 1_209_600_000, 432_000_000];
        self::assertSame($ms, array_map(OptionValue::retention(...), $given));
        foreach (['', 'soon', '0', '-5', '7x'] as $wrong) {
            try {
                OptionValue::retention($wrong);
                self::fail("'$wrong' was taken");
            } catch (UsageError $e) {
                self::assertStringContainsString('--retention', $e->getMessage());
            }
        }
    }
}
