<?php

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support\Json;

use JsonSerializable;
use RuntimeException;

/**
 * An object with its own JSON form: another value, itself, a copy of itself, or an exception.
 */
final class Wrapped implements JsonSerializable
{
    public const VALUE = 'value';
    public const ITSELF = 'itself';
    public const THROWS = 'throws';
    public const ENCODES = 'encodes';

    public int $public = 1;
    protected int $protected = 2;

    /** The number of calls. */
    public static int $calls = 0;

    public function __construct(public mixed $value, private string $mode = self::VALUE)
    {
    }

    public function jsonSerialize(): mixed
    {
        self::$calls++;

        return match ($this->mode) {
            self::VALUE => $this->value,
            self::ITSELF => $this,
            self::ENCODES => json_encode($this->value),
            self::THROWS => throw new RuntimeException('refused by ' . self::class . ' ' . $this->protected),
        };
    }
}
