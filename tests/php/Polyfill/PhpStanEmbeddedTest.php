<?php

/**
 * Classes and functions declared to PHPStan by extension.neon exist, and load without the extension.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Polyfill;

use PHPUnit\Framework\TestCase;
use ReflectionMethod;
use Toporia\Realtime\Laravel\Manager;
use Toporia\Realtime\Testing\RealtimeFake;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class PhpStanEmbeddedTest extends TestCase
{
    use RunsPhp;

    public function testItIsIncludedAutomaticallyAndNamesExistingClasses(): void
    {
        $composer = json_decode((string) file_get_contents(self::root() . '/composer.json'), true);
        self::assertSame(['extension.neon'], $composer['extra']['phpstan']['includes']);
        $neon = (string) file_get_contents(self::root() . '/extension.neon');
        self::assertSame(2, preg_match_all('/^\t\t- (.+)$/m', $neon, $paths));
        foreach ($paths[1] as $path) {
            self::assertFileExists(self::root() . "/$path");
        }
    }

    public function testItsBootstrapDefinesTheClassNameOfTheGuides(): void
    {
        foreach ([true, false] as $extension) {
            $result = $this->runPhp(
                'require ' . var_export(self::root() . '/php/phpstan.php', true) . ';
                echo (new ReflectionClass("Toporia\Framework\Realtime\Brokers\KafkaBroker"))->getName();',
                ['extension' => $extension]
            );
            self::assertSame('Toporia\Realtime\Toporia\KafkaBroker', $result->stdout, $result->describe());
        }
    }

    /**
     * Tools know the facade only by its annotations.
     */
    public function testTheFacadesAnnotationsMatchItsObject(): void
    {
        $facade = (string) file_get_contents(self::root() . '/php/Laravel/Facades/Realtime.php');
        preg_match_all('/@method static \S+ (\w+)\(([^)]*)\)/', $facade, $methods, PREG_SET_ORDER);
        self::assertGreaterThan(10, count($methods));
        $annotated = [];
        foreach ($methods as [, $name, $parameters]) {
            preg_match_all('/\$(\w+)/', $parameters, $names);
            $annotated[$name] = $names[1];
        }
        foreach ($annotated as $name => $parameters) {
            $class = method_exists(Manager::class, $name) ? Manager::class : RealtimeFake::class;
            $real = (new ReflectionMethod($class, $name))->getParameters();
            self::assertSame(array_map(static fn ($real): string => $real->getName(), $real), $parameters, $name);
        }
    }
}
