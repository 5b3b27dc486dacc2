<?php

/**
 * Encodes and decodes the types of Kafka's protocol.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

/**
 * Instances are a cursor over a response; static methods encode requests.
 */
final class Bytes
{
    private int $at = 0;

    public function __construct(private string $bytes)
    {
    }

    public static function string(?string $text): string
    {
        return $text === null ? pack('n', 0xffff) : pack('n', strlen($text)) . $text;
    }

    public static function blob(string $bytes): string
    {
        return pack('N', strlen($bytes)) . $bytes;
    }

    /** @param list<string> $entries encoded entries */
    public static function list(array $entries): string
    {
        return pack('N', count($entries)) . implode('', $entries);
    }

    /** A compact string; only for short texts. */
    public static function compact(string $text): string
    {
        return chr(strlen($text) + 1) . $text;
    }

    public function int8(): int
    {
        return ord($this->take(1));
    }

    public function int16(): int
    {
        $number = unpack('n', $this->take(2))[1];

        return $number >= 0x8000 ? $number - 0x10000 : $number;
    }

    public function int32(): int
    {
        $number = unpack('N', $this->take(4))[1];

        return $number >= 0x80000000 ? $number - 0x100000000 : $number;
    }

    public function int64(): int
    {
        return unpack('J', $this->take(8))[1];
    }

    public function text(): ?string
    {
        $length = $this->int16();

        return $length < 0 ? null : $this->take($length);
    }

    public function binary(): string
    {
        return $this->take(max(0, $this->int32()));
    }

    /**
     * Decodes an array; empty if it is null.
     *
     * @template T
     *
     * @param callable(self): T $read
     *
     * @return list<T>
     */
    public function each(callable $read): array
    {
        $entries = [];
        for ($left = $this->int32(); $left > 0; $left--) {
            $entries[] = $read($this);
        }

        return $entries;
    }

    /**
     * Decodes a compact array.
     *
     * @template T
     *
     * @param callable(self): T $read
     *
     * @return list<T>
     */
    public function eachCompact(callable $read): array
    {
        $entries = [];
        for ($left = $this->varint() - 1; $left > 0; $left--) {
            $entries[] = $read($this);
        }

        return $entries;
    }

    public function varint(): int
    {
        $number = $shift = 0;
        do {
            $byte = $this->int8();
            $number |= ($byte & 0x7f) << $shift;
            $shift += 7;
        } while ($byte & 0x80 && $shift < 35);

        return $number;
    }

    public function compactText(): string
    {
        return $this->take(max(0, $this->varint() - 1));
    }

    /** Skips the tagged fields at the end of a structure. */
    public function skipTags(): void
    {
        for ($left = $this->varint(); $left > 0; $left--) {
            $this->varint();
            $this->take($this->varint());
        }
    }

    private function take(int $length): string
    {
        if ($this->at + $length > strlen($this->bytes)) {
            throw new WireException(WireException::API, 'its response is too short: is it a Kafka broker?');
        }
        $part = substr($this->bytes, $this->at, $length);
        $this->at += $length;

        return $part;
    }
}
