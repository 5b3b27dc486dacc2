<?php

/**
 * The small container creates objects where it can, and reports the reason where it cannot.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

use ArrayObject;
use Countable;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use stdClass;
use Toporia\Realtime\Console\Container;
use Toporia\Realtime\Exception\ConfigurationException;

final class ContainerUnitTest extends TestCase
{
    private Container $container;

    protected function setUp(): void
    {
        $this->container = new Container();
    }

    public function testConstructorParametersAreResolvedByType(): void
    {
        $this->container->bind(Countable::class, static fn () => new ArrayObject([1, 2]));
        $service = $this->container->get(Sample\Service::class);
        self::assertInstanceOf(Sample\Service::class, $service);
        self::assertCount(2, $service->counted);
        self::assertSame($this->container, $service->container);
        self::assertSame(['default', null], [$service->text, $service->missing]);
    }

    public function testEachClassIsInstantiatedOnce(): void
    {
        self::assertSame($this->container->get(stdClass::class), $this->container->get(stdClass::class));
    }

    public function testBindings(): void
    {
        $object = new stdClass();
        $this->container->bind('object', $object)->bind('alias', 'object');
        self::assertSame($object, $this->container->get('alias'));
        $this->container->bind('object', static fn (Container $c) => $c);
        self::assertSame($this->container, $this->container->get('object'));
        self::assertTrue($this->container->has('alias'));
        self::assertTrue($this->container->has(stdClass::class));
        self::assertFalse($this->container->has(Countable::class));
        self::assertFalse($this->container->has('nothing'));
    }

    /** @dataProvider impossible */
    #[DataProvider('impossible')]
    public function testUnresolvableClassesAreExplained(string $id, string $text): void
    {
        $this->container->bind('wrong', static fn () => 5);
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage($text);
        $this->container->get($id);
    }

    /** @return array<string, array{string, string}> */
    public static function impossible(): array
    {
        return [
            'no class' => ['App\Nothing', 'Cannot create App\Nothing: class not found'],
            'an interface' => [Countable::class, 'Cannot create Countable: it is an interface'],
            'deep inside' => [Sample\Service::class, 'Cannot create Countable: it is an interface'],
            'a circle' => [Sample\Circle::class, 'circular dependency (' . Sample\Circle::class . ' → '],
            'a scalar' => [Sample\Scalar::class, 'the parameter $dsn (string) of its constructor has no default'],
            'an enum' => [Sample\Level::class, 'Cannot create ' . Sample\Level::class],
            'a binding that makes no object' => ['wrong', 'The binding of wrong returned int'],
        ];
    }

    public function testAFailureLeavesTheContainerUsable(): void
    {
        try {
            $this->container->get(Sample\Service::class);
        } catch (ConfigurationException) {
            $this->container->bind(Countable::class, new ArrayObject());
        }
        self::assertInstanceOf(Sample\Service::class, $this->container->get(Sample\Service::class));
    }
}
