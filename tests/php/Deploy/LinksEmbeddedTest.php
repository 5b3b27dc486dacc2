<?php

/**
 * The operations pages: each link points to an existing file and an existing heading.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Deploy;

use PHPUnit\Framework\TestCase;

final class LinksEmbeddedTest extends TestCase
{
    /**
     * @testWith ["deployment.md"]
     *           ["deploy-containers.md"]
     *           ["alerts.md"]
     *           ["capacity.md"]
     *           ["gateway.md"]
     */
    public function testLinksHaveTargets(string $page): void
    {
        $docs = dirname(__DIR__, 3) . '/docs';
        preg_match_all('/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/', (string) file_get_contents("$docs/$page"), $links, PREG_SET_ORDER);
        self::assertNotSame([], $links);
        foreach ($links as $link) {
            $file = $link[1] === '' ? "$docs/$page" : "$docs/$link[1]";
            self::assertFileExists($file, "$page: $link[0]");
            if (($link[2] ?? '') !== '') {
                self::assertContains($link[2], self::anchors($file), "$page: $link[0]");
            }
        }
    }

    /** @return list<string> of a page's headings, as GitHub makes them */
    private static function anchors(string $file): array
    {
        preg_match_all('/^#+ (.+)$/m', (string) file_get_contents($file), $headings);
        $anchor = static fn (string $heading): string => str_replace(' ', '-', (string) preg_replace(
            '/[^\w\- ]/u',
            '',
            strtolower($heading)
        ));

        return array_map($anchor, $headings[1]);
    }
}
