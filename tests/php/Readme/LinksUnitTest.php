<?php

/**
 * Links of README and documentation lead to existing files and headings, and the tests they name exist.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Readme;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;

final class LinksUnitTest extends TestCase
{
    private const ROOT = __DIR__ . '/../../..';

    /** @return iterable<string, array{string}> */
    public static function pages(): iterable
    {
        foreach ([...glob(self::ROOT . '/*.md'), ...glob(self::ROOT . '/docs/*.md')] as $page) {
            yield substr($page, strlen(self::ROOT) + 1) => [$page];
        }
    }

    /** @dataProvider pages */
    #[DataProvider('pages')]
    public function testLinksLeadToFilesAndHeadings(string $page): void
    {
        $text = self::withoutCode($page);
        preg_match_all('/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/', $text, $links, PREG_SET_ORDER);
        $this->addToAssertionCount(1);
        foreach ($links as $link) {
            $file = $link[1] === '' ? $page : dirname($page) . '/' . $link[1];
            self::assertFileExists($file, $link[0]);
            if (($link[2] ?? '') !== '') {
                self::assertContains($link[2], self::anchors($file), $link[0]);
            }
        }
    }

    /** @dataProvider pages */
    #[DataProvider('pages')]
    public function testNamedTestsExist(string $page): void
    {
        preg_match_all('~`(?:[\w/]+/)?(\w+Test)(?:\.php)?`~', self::withoutCode($page), $names);
        $this->addToAssertionCount(1);
        foreach ($names[1] as $name) {
            self::assertNotSame([], glob(self::ROOT . "/tests/php/*/$name.php"), $name);
        }
    }

    /** @dataProvider pages */
    #[DataProvider('pages')]
    public function testNoLineIsLongerThan120Characters(string $page): void
    {
        foreach (explode("\n", (string) file_get_contents($page)) as $number => $line) {
            self::assertLessThanOrEqual(120, mb_strlen($line), 'line ' . ($number + 1));
        }
    }

    public function testArchitectureNamesExistingFilesAndFunctions(): void
    {
        $text = (string) preg_replace('/\s+/', ' ', (string) file_get_contents(self::ROOT . '/ARCHITECTURE.md'));
        preg_match_all('~`((?:src|php)/[\w/]+\.(?:rs|php))`(?: `(\w+)\(\)`)?~', $text, $steps, PREG_SET_ORDER);
        self::assertNotSame([], $steps);
        foreach ($steps as $step) {
            self::assertFileExists(self::ROOT . "/$step[1]");
            if (isset($step[2])) {
                $source = (string) file_get_contents(self::ROOT . "/$step[1]");
                self::assertMatchesRegularExpression("/\\bfn $step[2]\\b/", $source, $step[1]);
            }
        }
    }

    public function testTheIndexLinksEveryPage(): void
    {
        $index = (string) file_get_contents(self::ROOT . '/docs/README.md');
        foreach (glob(self::ROOT . '/docs/*.md') as $page) {
            if (basename($page) !== 'README.md') {
                self::assertStringContainsString('](' . basename($page) . ')', $index);
            }
        }
    }

    private static function withoutCode(string $page): string
    {
        return (string) preg_replace('/^```.*?^```/ms', '', (string) file_get_contents($page));
    }

    /** @return list<string> the anchors of a page's headings, as GitHub generates them */
    private static function anchors(string $page): array
    {
        preg_match_all('/^#+ (.+)$/m', self::withoutCode($page), $headings);
        $anchor = static fn (string $heading): string => str_replace(' ', '-', (string) preg_replace(
            '/[^\w\- ]/u',
            '',
            mb_strtolower($heading)
        ));

        return array_map($anchor, $headings[1]);
    }
}
