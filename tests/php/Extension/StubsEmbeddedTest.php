<?php

/**
 * The stubs match the extension: every class, method, parameter, type and default, and nothing else.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Extension;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class StubsEmbeddedTest extends TestCase
{
    use RunsPhp;

    /** @var array<string, array<string, mixed>> what the extension has, by class */
    private static array $native = [];
    /** @var array<string, array<string, mixed>> what the stubs say, by class */
    private static array $stubs = [];

    protected function setUp(): void
    {
        if (self::$native === []) {
            self::$native = $this->startScript(__DIR__ . '/reflection.php')->wait()->json();
            self::$stubs = $this->startScript(__DIR__ . '/reflection.php', ['extension' => false])->wait()->json();
        }
    }

    public function testEveryClassHasAStubAndEveryStubAClass(): void
    {
        self::assertNotEmpty(self::$native);
        self::assertSame(array_keys(self::$native), array_keys(self::$stubs));
    }

    /**
     * All classes in one comparison, so that an API change shows its whole extent.
     */
    public function testEveryStubMatchesTheExtension(): void
    {
        self::assertSame(self::lines(self::$native), self::lines(self::$stubs));
    }

    public function testEveryStubIsInTheFileOfItsName(): void
    {
        foreach (self::$stubs as $class => $stub) {
            $path = strtr(substr($class, strlen('Toporia\\Realtime\\')), '\\', '/');
            self::assertSame(self::root() . "/stubs/$path.php", $stub['file']);
        }
    }

    public function testEveryClassAndMethodIsDocumented(): void
    {
        $undocumented = [];
        foreach (self::$stubs as $class => $stub) {
            foreach ($stub['docs'] as $member => $comment) {
                if ($comment === false || !preg_match('/[a-zA-Z]{3,}/', $comment)) {
                    $undocumented[] = $member === '' ? $class : "$class::$member";
                }
            }
        }
        self::assertSame([], $undocumented);
    }

    /**
     * One line for each fact that can differ, so that PHPUnit's diff names it.
     *
     * @param array<string, array<string, mixed>> $classes
     */
    private static function lines(array $classes): string
    {
        $lines = [];
        foreach ($classes as $name => $class) {
            $shape = $class['shape'];
            $lines[] = "$name: {$shape['kind']}";
            $lines[] = "$name extends {$shape['parent']}";
            $lines[] = "$name implements " . implode(', ', $shape['interfaces']);
            foreach (['constants', 'properties'] as $kind) {
                foreach ($shape[$kind] as $member => $what) {
                    $lines[] = "$name::$member $what";
                }
            }
            foreach ($shape['methods'] as $method) {
                $lines[] = "$name: $method";
            }
        }

        return implode("\n", $lines);
    }
}
