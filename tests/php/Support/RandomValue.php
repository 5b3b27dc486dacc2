<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use ArrayIterator;
use ArrayObject;
use DateTimeImmutable;
use DateTimeZone;
use SplFixedArray;
use SplObjectStorage;
use SplStack;
use stdClass;
use Throwable;
use Toporia\Realtime\Tests\Support\Json\Direction;
use Toporia\Realtime\Tests\Support\Json\Level;
use Toporia\Realtime\Tests\Support\Json\Record;
use Toporia\Realtime\Tests\Support\Json\SubRecord;
use Toporia\Realtime\Tests\Support\Json\Suit;
use Toporia\Realtime\Tests\Support\Json\Wrapped;

/**
 * Values of every kind that json_encode() handles, valid and invalid, the same for the same seed.
 *
 * ```php
 * $random = new RandomValue(42);
 * $value = $random->next();
 * RandomValue::isRefused($value);   // what json_encode() says of it
 * ```
 */
final class RandomValue
{
    private const LEAVES = 26;

    /** @var resource */
    private $resource;

    /**
     * @param int $seed    the same seed gives the same values
     * @param int $spoiled one leaf in so many is something JSON refuses; 0: never
     */
    public function __construct(int $seed, private int $spoiled = 60)
    {
        mt_srand($seed);
        $resource = fopen('php://memory', 'r');
        if ($resource === false) {
            throw new \RuntimeException('php://memory cannot be opened');
        }
        $this->resource = $resource;
    }

    /**
     * True where json_encode() with default flags returns false or throws.
     */
    public static function isRefused(mixed $value): bool
    {
        try {
            return json_encode($value) === false;
        } catch (Throwable) {
            return true;
        }
    }

    /**
     * The next value: mostly small trees, occasionally a deep one.
     */
    public function next(): mixed
    {
        return match (mt_rand(0, 199)) {
            0 => $this->deep(mt_rand(508, 515)),
            1 => $this->recursive(),
            2 => self::deepObject(mt_rand(509, 514)),
            default => $this->value(mt_rand(0, 5)),
        };
    }

    /**
     * A value that may nest $levels further.
     */
    public function value(int $levels): mixed
    {
        if ($levels === 0 || mt_rand(0, 3) === 0) {
            return $this->leaf();
        }

        return match (mt_rand(0, 13)) {
            0, 1, 2 => $this->items($levels, false),
            3, 4, 5, 6 => $this->items($levels, true),
            7 => (object) $this->items($levels, true),
            8 => new Record($this->value($levels - 1), mt_rand(0, 30) / 10),
            9 => $this->subRecord($levels),
            10 => new Wrapped($this->value($levels - 1)),
            11 => new Wrapped($this->value($levels - 1), $this->mode()),
            12 => $this->withReferences($levels),
            default => $this->internal($levels),
        };
    }

    /**
     * A string of random Unicode characters, preferably ASCII.
     */
    public function text(): string
    {
        $text = '';
        for ($left = mt_rand(0, mt_rand(0, 9) === 0 ? 200 : 20); $left > 0; $left--) {
            $text .= match (mt_rand(0, 15)) {
                0 => chr(mt_rand(0, 31)),
                1 => '/',
                2 => ['"', '\\', "\x7f", "'", '<', '&', "\u{2028}", "\u{ffff}"][mt_rand(0, 7)],
                3 => mb_chr(mt_rand(0x80, 0x7ff), 'UTF-8'),
                4 => mb_chr(mt_rand(0, 1) === 0 ? mt_rand(0x800, 0xd7ff) : mt_rand(0xe000, 0xffff), 'UTF-8'),
                5 => mb_chr(mt_rand(0x10000, 0x10ffff), 'UTF-8'),
                default => chr(mt_rand(32, 126)),
            };
        }

        return $text;
    }

    /**
     * Any float except infinities and NAN.
     */
    public function float(): float
    {
        $float = match (mt_rand(0, 9)) {
            0 => 0.0,
            1 => - 0.0,
            2 => (float) mt_rand(-1000, 1000),
            3 => mt_rand(-100000, 100000) / 100,
            4 => mt_rand() * 10.0 ** (mt_rand(0, 630) - 330),
            5 => 10.0 ** mt_rand(-20, 25),
            6 => [PHP_FLOAT_MIN, PHP_FLOAT_MAX, PHP_FLOAT_EPSILON, 5e-324, 0.1 + 0.2, 1e15, 1e17, 123456789012345678.0,
                9007199254740993.0, -9.2233720368547758e18][mt_rand(0, 9)],
            7 => (float) mt_rand(PHP_INT_MIN, PHP_INT_MAX),
            default => (unpack('d', pack('q', mt_rand(PHP_INT_MIN, PHP_INT_MAX))) ?: [1 => 0.0])[1],
        };

        return is_float($float) && is_finite($float) ? $float : 0.0;
    }

    private function leaf(): mixed
    {
        if ($this->spoiled > 0 && mt_rand(1, $this->spoiled) === 1) {
            return $this->bad();
        }

        return match (mt_rand(0, self::LEAVES)) {
            0, 1 => null,
            2 => true,
            3 => false,
            4, 5 => mt_rand(-1000, 1000),
            6 => mt_rand(PHP_INT_MIN, PHP_INT_MAX),
            7 => [PHP_INT_MAX, PHP_INT_MIN, 0, -1, 10, 99, 100][mt_rand(0, 6)],
            8, 9, 10, 11 => $this->float(),
            12 => Suit::cases()[mt_rand(0, 1)],
            13 => Level::cases()[mt_rand(0, 1)],
            14 => [],
            15 => new stdClass(),
            16 => '',
            17 => (string) mt_rand(0, 10000),
            18 => str_repeat($this->text(), mt_rand(1, 30)),
            default => $this->text(),
        };
    }

    /**
     * A value that json_encode() refuses.
     */
    private function bad(): mixed
    {
        return match (mt_rand(0, 7)) {
            0 => NAN,
            1 => mt_rand(0, 1) === 0 ? INF : -INF,
            2 => $this->resource,
            3 => Direction::cases()[mt_rand(0, 1)],
            4 => new Wrapped(null, Wrapped::THROWS),
            5 => [$this->badText() => 1],
            default => $this->badText(),
        };
    }

    /**
     * Bytes that are not UTF-8: truncated, overlong, surrogates, beyond Unicode, or random.
     */
    private function badText(): string
    {
        $bad = [
            "\xff", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
            "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\xc3", "\xe2\x82", "\xf0\x9f\x98",
            "\x80", "\xbf", "\xc3(", "\xe2\x28\xa1",
        ];
        $bad[] = implode('', array_map(static fn (): string => chr(mt_rand(0, 255)), range(0, mt_rand(0, 12))));

        return $this->text() . $bad[mt_rand(0, 17)] . $this->text();
    }

    /**
     * @return array<mixed>
     */
    private function items(int $levels, bool $keyed): array
    {
        $items = [];
        for ($left = mt_rand(0, 7); $left > 0; $left--) {
            $value = $this->value($levels - 1);
            if ($keyed) {
                $items[$this->key()] = $value;
            } else {
                $items[] = $value;
            }
        }
        if ($items !== [] && mt_rand(0, 9) === 0) {
            // A gap in the keys, at either end or in the middle.
            unset($items[array_rand($items)]);
        }
        if (mt_rand(0, 19) === 0) {
            $items = array_reverse($items, true);
        }

        return $items;
    }

    private function key(): int|string
    {
        return match (mt_rand(0, 11)) {
            0 => mt_rand(0, 5),
            1 => mt_rand(-5, PHP_INT_MAX),
            2 => '',
            3 => '0' . mt_rand(0, 9),
            4 => ['-0', '-5', '9223372036854775807', '9223372036854775808', ' 1', '1.5', '-'][mt_rand(0, 6)],
            5 => $this->text(),
            6 => "a\0b",
            default => ['id', 'name', 'user_id', 'items', 'created_at', 'price', 'x'][mt_rand(0, 6)],
        };
    }

    private function subRecord(int $levels): SubRecord
    {
        $record = new SubRecord($this->value($levels - 1), mt_rand(0, 30) / 10);
        $record->more = $this->items($levels, true);
        for ($left = mt_rand(0, 3); $left > 0; $left--) {
            $name = (string) $this->key();
            if (!str_starts_with($name, "\0") && !property_exists($record, $name)) {
                $record->{$name} = $this->value($levels - 1);
            }
        }

        return $record;
    }

    private function mode(): string
    {
        return match (mt_rand(0, 3)) {
            0 => Wrapped::ITSELF,
            1 => Wrapped::ENCODES,
            default => Wrapped::VALUE,
        };
    }

    /**
     * @return array<mixed>
     */
    private function withReferences(int $levels): array
    {
        $items = $this->items($levels, mt_rand(0, 1) === 1);
        $shared = $this->value($levels - 1);
        $items['one'] = &$shared;
        $items['again'] = &$shared;
        $copy = $items;
        $items['copy'] = $copy;

        return $items;
    }

    private function internal(int $levels): object
    {
        $items = $this->items($levels, mt_rand(0, 1) === 1);
        switch (mt_rand(0, 8)) {
            case 0:
                return new ArrayObject($items);
            case 1:
                return new ArrayIterator($items);
            case 2:
                $storage = new SplObjectStorage();
                $storage[new stdClass()] = $items;

                return $storage;
            case 3:
                return SplFixedArray::fromArray(array_values($items));
            case 4:
                $stack = new SplStack();
                foreach ($items as $item) {
                    $stack->push($item);
                }

                return $stack;
            case 5:
                return static fn (): int => 1;
            case 6:
                return (static fn (): iterable => yield 1)();
            case 7:
                return new DateTimeZone('Asia/Ho_Chi_Minh');
            default:
                return new DateTimeImmutable('@' . mt_rand());
        }
    }

    /**
     * @return array<mixed>
     */
    private function deep(int $levels): array
    {
        $value = mt_rand(0, 1) === 0 ? [] : [$this->leaf()];
        $keyed = mt_rand(0, 1) === 1;
        for ($level = 1; $level < $levels; $level++) {
            $value = $keyed ? ['k' => $value] : [$value];
        }

        return $value;
    }

    private static function deepObject(int $levels): stdClass
    {
        $value = new stdClass();
        for ($level = 1; $level < $levels; $level++) {
            $outer = new stdClass();
            $outer->inner = $level % 3 === 0 ? new Wrapped($value) : $value;
            $value = $outer;
        }

        return $value;
    }

    /**
     * A value that contains itself.
     */
    private function recursive(): mixed
    {
        switch (mt_rand(0, 6)) {
            case 0:
                $array = [1, 'x' => $this->leaf()];
                $array['self'] = &$array;

                return $array;
            case 1:
                $object = new stdClass();
                $object->list = [$object];

                return $object;
            case 2:
                $record = new Record(null);
                $record->first = ['back' => $record];

                return $record;
            case 3:
                $wrapped = new Wrapped(null);
                $wrapped->value = [$wrapped];

                return $wrapped;
            case 4:
                $wrapped = new Wrapped(null, Wrapped::ENCODES);
                $wrapped->value = ['me' => $wrapped];

                return [$wrapped, 'again' => $wrapped];
            case 5:
                $wrapped = new Wrapped(null, Wrapped::ITSELF);
                $wrapped->value = ['me' => $wrapped];

                return $wrapped;
            default:
                $record = new SubRecord(null);
                $record->{'dynamic'} = $record;

                return ['r' => $record];
        }
    }
}
