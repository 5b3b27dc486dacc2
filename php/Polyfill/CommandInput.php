<?php

declare(strict_types=1);

namespace Toporia\Realtime\Polyfill;

/**
 * The input of a command, by the names in its signature. Read by the polyfilled Command; created from the options and
 * arguments of any parser.
 */
final class CommandInput
{
    /** @var array<string, mixed> */
    private array $options = [];
    /** @var array<string, mixed> */
    private array $arguments = [];

    /**
     * @param array<string, mixed> $options by name; missing ones get the signature's default
     * @param array<string, mixed> $arguments likewise
     */
    public function __construct(Signature $signature, array $options = [], array $arguments = [])
    {
        foreach ($signature->options as $name => $option) {
            $given = $options[$name] ?? null;
            $this->options[$name] = match (true) {
                $option['list'] => self::list($given),
                $option['value'] => $given ?? $option['default'],
                default => (bool) $given,
            };
        }
        foreach ($signature->arguments as $name => $argument) {
            $this->arguments[$name] = $arguments[$name] ?? $argument['default'];
        }
    }

    /** Input with the defaults of a signature only. */
    public static function of(string $signature): self
    {
        return new self(Signature::parse($signature));
    }

    public function getOption(string $name, mixed $default = null): mixed
    {
        return $this->options[$name] ?? $default;
    }

    public function hasOption(string $name): bool
    {
        return !in_array($this->options[$name] ?? null, [null, false, []], true);
    }

    /** @return array<string, mixed> */
    public function getOptions(): array
    {
        return $this->options;
    }

    /** @param string|int $key name or position */
    public function getArgument(string|int $key, mixed $default = null): mixed
    {
        $arguments = is_int($key) ? array_values($this->arguments) : $this->arguments;

        return $arguments[$key] ?? $default;
    }

    /** @return array<string, mixed> */
    public function getArguments(): array
    {
        return $this->arguments;
    }

    /** @return list<string> */
    private static function list(mixed $given): array
    {
        $parts = [];
        foreach ((array) $given as $value) {
            array_push($parts, ...explode(',', (string) $value));
        }

        return array_values(array_filter(array_map('trim', $parts), static fn (string $part): bool => $part !== ''));
    }
}
