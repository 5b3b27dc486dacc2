<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use JsonException;

/**
 * Splits a JSON object into its members without decoding them, so that unused data is never decoded. Returns the
 * top-level members of a JSON object, each as JSON text.
 *
 * Only finds where a value ends; nested values are validated when they are decoded.
 */
final class EnvelopeScanner
{
    private const SPACE = " \t\n\r";

    private int $at = 0;

    private function __construct(private string $json)
    {
    }

    /**
     * The members by name; the last one wins if a name is repeated, as with json_decode().
     *
     * @return array<string, string> JSON text by name
     *
     * @throws JsonException not an object, or incomplete
     */
    public static function members(string $json): array
    {
        $scanner = new self($json);
        $members = $scanner->object();
        $scanner->space();
        if ($scanner->at !== strlen($json)) {
            throw new JsonException("unexpected text after the object, at byte $scanner->at");
        }

        return $members;
    }

    /** @return array<string, string> */
    private function object(): array
    {
        $members = [];
        $this->expect('{');
        if ($this->peek() === '}') {
            $this->at++;

            return $members;
        }
        while (true) {
            $this->space();
            $name = json_decode($this->string(), true, 1, JSON_THROW_ON_ERROR);
            $this->expect(':');
            $this->space();
            $members[$name] = $this->value();
            if ($this->peek() === ',') {
                $this->at++;
                continue;
            }
            $this->expect('}');

            return $members;
        }
    }

    private function value(): string
    {
        $start = $this->at;
        $first = $this->json[$start] ?? '';
        if ($first === '"') {
            return $this->string();
        }
        if ($first !== '{' && $first !== '[') {
            $length = strcspn($this->json, ',}]' . self::SPACE, $start);
            if ($length === 0) {
                throw $this->unexpected('a value');
            }
            $this->at += $length;

            return substr($this->json, $start, $length);
        }
        $depth = 0;
        do {
            $this->at += strcspn($this->json, '"{}[]', $this->at);
            $char = $this->json[$this->at] ?? throw $this->unexpected('the end of the value');
            if ($char === '"') {
                $this->string();
                continue;
            }
            $depth += $char === '{' || $char === '[' ? 1 : -1;
            $this->at++;
        } while ($depth > 0);

        return substr($this->json, $start, $this->at - $start);
    }

    private function string(): string
    {
        $start = $this->at;
        $this->expect('"');
        while (true) {
            $this->at += strcspn($this->json, '"\\', $this->at);
            $char = $this->json[$this->at] ?? throw $this->unexpected('the end of the string');
            $this->at += $char === '\\' ? 2 : 1;
            if ($char === '"') {
                return substr($this->json, $start, $this->at - $start);
            }
        }
    }

    private function expect(string $char): void
    {
        if ($this->peek() !== $char) {
            throw $this->unexpected("'$char'");
        }
        $this->at++;
    }

    private function peek(): string
    {
        $this->space();

        return $this->json[$this->at] ?? '';
    }

    private function space(): void
    {
        $this->at += strspn($this->json, self::SPACE, $this->at);
    }

    private function unexpected(string $wanted): JsonException
    {
        $at = min($this->at, strlen($this->json));

        return new JsonException("expected $wanted at byte $at");
    }
}
