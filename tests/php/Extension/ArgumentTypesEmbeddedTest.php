<?php

/**
 * Numbers, bools and messages as arguments: converted and refused as PHP does it for its own functions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Extension;

use Closure;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use ReflectionMethod;
use ReflectionNamedType;
use ReflectionParameter;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Message;
use Toporia\Realtime\Metrics;
use Toporia\Realtime\Realtime;
use TypeError;

final class ArgumentTypesEmbeddedTest extends TestCase
{
    private const CLASSES = [
        Admin::class, Broker::class, EmbeddedBroker::class, Gateway::class,
        Message::class, Metrics::class, Realtime::class,
    ];

    /** Every parameter of the type int, bool or Message of every public method. */
    public function testATypeErrorNamesMethodParameterAndTypes(): void
    {
        $checked = 0;
        foreach (self::CLASSES as $class) {
            foreach (get_class_methods($class) as $method) {
                $checked += $this->checkTypeErrors(new ReflectionMethod($class, $method));
            }
        }
        self::assertGreaterThan(25, $checked);
    }

    /** @return int the number of parameters */
    private function checkTypeErrors(ReflectionMethod $method): int
    {
        $checked = 0;
        foreach ($method->getParameters() as $place => $parameter) {
            $type = $parameter->getType();
            $type = $type instanceof ReflectionNamedType ? $type->getName() : '';
            if (!in_array($type, ['int', 'bool', Message::class], true)) {
                continue;
            }
            $arguments = array_map(self::value(...), $method->getParameters());
            $arguments[$place] = [];
            $expected = "$method->class::$method->name(): Argument #" . ($place + 1) . " (\${$parameter->getName()}) "
                . "must be of type $type, array given";
            try {
                $method->invoke($method->isStatic() ? null : self::instance($method->class), ...$arguments);
                self::fail("$method->class::$method->name() accepts an array as \${$parameter->getName()}");
            } catch (TypeError $e) {
                self::assertSame($expected, $e->getMessage());
            }
            $checked++;
        }

        return $checked;
    }

    private static function value(ReflectionParameter $parameter): mixed
    {
        $type = $parameter->getType();

        return match ($type instanceof ReflectionNamedType ? $type->getName() : 'string') {
            'int' => 1,
            'bool' => true,
            'array' => [],
            'callable' => 'strlen',
            Message::class => Message::event('a', 'e'),
            'Throwable' => null,
            default => 'text',
        };
    }

    private static function instance(string $class): object
    {
        return match ($class) {
            EmbeddedBroker::class => EmbeddedBroker::shared(),
            Message::class => Message::event('a', 'e'),
            Gateway::class => new Gateway(['app_id' => 'a', 'key' => 'k', 'secret' => str_repeat('s1', 20)]),
            default => new $class(['brokers' => 'embedded']),
        };
    }

    /** @dataProvider whole */
    #[DataProvider('whole')]
    public function testWholeNumbersMayBeText(mixed $number): void
    {
        $broker = new Broker(['brokers' => 'embedded', 'topic_prefix' => 'types']);
        $handled = 0;
        $broker->subscribe('a', static function () use (&$handled): void {
            $handled++;
        });
        $broker->publishBatch([['a', 'e'], ['a', 'e'], ['a', 'e']], $number);
        self::assertSame(3, $broker->consume($number, $number, 0, '1'));
        self::assertSame(3, $handled);
        Realtime::flush($number);
        $broker->close();
    }

    /** @return array<string, array{mixed}> */
    public static function whole(): array
    {
        return ['text' => ['5000'], 'white space' => [' 5000 '], 'an exponent' => ['5e3'], 'a float' => [5000.0]];
    }

    /**
     * @dataProvider noNumbers
     */
    #[DataProvider('noNumbers')]
    public function testOtherValuesAreRefused(mixed $value, string $type): void
    {
        $this->expectException(TypeError::class);
        $this->expectExceptionMessage("(\$timeoutMs) must be of type int, $type given");
        Realtime::flush($value);
    }

    /** @return array<string, array{mixed, string}> */
    public static function noNumbers(): array
    {
        return [
            'a word' => ['soon', 'string'], 'a unit' => ['5s', 'string'], 'empty' => ['', 'string'],
            'hexadecimal' => ['0x10', 'string'], 'INF as text' => ['INF', 'string'],
            'a fraction' => [1.5, 'float'], 'NAN' => [NAN, 'float'], 'a large number' => [1e30, 'float'],
            'null' => [null, 'null'], 'an object' => [new \stdClass(), 'stdClass'],
        ];
    }

    /**
     * @dataProvider negativeNumbers
     *
     * @param Closure(Broker): mixed $call
     */
    #[DataProvider('negativeNumbers')]
    public function testNegativeTimesAreRefused(Closure $call, string $parameter): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage("$parameter must be 0 or more, -1 given.");
        $call((new Broker(['brokers' => 'embedded']))->subscribe('a'));
    }

    /** @return iterable<array{Closure(Broker): mixed, string}> */
    public static function negativeNumbers(): iterable
    {
        yield [static fn () => Realtime::flush(-1), 'Realtime::flush(): $timeoutMs'];
        yield [static fn (Broker $broker) => $broker->poll(-1), 'Broker::poll(): $timeoutMs'];
        yield [static fn (Broker $broker) => $broker->consume(-1), 'Broker::consume(): $timeoutMs'];
        yield [static fn (Broker $broker) => $broker->publishBatch([], -1), 'Broker::publishBatch(): $flushTimeoutMs'];
        yield [static fn (Broker $broker) => $broker->onTick(static fn () => null, -1), 'Broker::onTick(): $everyMs'];
        yield [static fn () => self::instance(Gateway::class)->wait(-1), 'Gateway::wait(): $timeoutMs'];
    }

    public function testTheIndexOfABatchException(): void
    {
        self::assertSame(7, (new BatchException('7'))->getIndex());
        $this->expectException(TypeError::class);
        $expected = 'BatchException::__construct(): Argument #1 ($index) must be of type int, array given';
        $this->expectExceptionMessage($expected);
        new BatchException([]);
    }

    public function testAnEntryOfAListOfChannelsIsNamed(): void
    {
        $this->expectException(TypeError::class);
        $this->expectExceptionMessage('Realtime::broadcast(): entry 1 of $channel must be of type string, null given');
        Realtime::broadcast(['a', null], 'e');
    }

    /** Also while the first message to its topic is not acknowledged, and while the topic is looked up. */
    public function testAMessageThatIsTooLargeIsRefusedInEveryStateOfItsTopic(): void
    {
        $broker = new Broker(['brokers' => 'embedded', 'topic_prefix' => 'large']);
        EmbeddedBroker::shared()->setLatency(200);
        try {
            foreach ([2_000_000, 10, 2_000_000] as $size) {
                try {
                    $broker->publish('a', Message::event('a', 'e', str_repeat('x', $size)));
                    self::assertSame(10, $size);
                } catch (MessageTooLargeException) {
                    self::assertSame(2_000_000, $size);
                }
            }
            usleep(300_000);
            $this->expectException(MessageTooLargeException::class);
            $broker->publish('a', Message::event('a', 'e', str_repeat('x', 2_000_000)));
        } finally {
            EmbeddedBroker::shared()->clearFaults();
            Realtime::flush();
        }
    }
}
