<?php

declare(strict_types=1);

namespace Toporia\Realtime\Polyfill;

use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Parses command signatures as Toporia and Laravel write them: `orders:import {file} {--dry} {--channels=*}`. The name,
 * arguments and options of a command, in order.
 */
final class Signature
{
    /**
     * @param array<string, array{required: bool, list: bool, default: string|null, help: string}> $arguments
     * @param array<string, array{value: bool, list: bool, default: string|null, help: string, short: string|null}> $options
     */
    private function __construct(
        public readonly string $name,
        public readonly array $arguments,
        public readonly array $options
    ) {
    }

    /** @throws ConfigurationException the signature has no name */
    public static function parse(string $signature): self
    {
        if (preg_match('/\A\s*([^\s{}]+)/', $signature, $match) !== 1) {
            throw new ConfigurationException(
                "A command's signature has to begin with its name, such as 'orders:consume {--channels=*}'; it is "
                . "'$signature'."
            );
        }
        preg_match_all('/\{\s*(.*?)\s*\}/s', $signature, $parts);
        $arguments = $options = [];
        foreach ($parts[1] as $part) {
            [$text, $help] = preg_split('/\s+:\s+/', $part, 2) + [1 => ''];
            if (str_starts_with($text, '--')) {
                [$name, $option] = self::option(substr($text, 2), trim($help));
                $options[$name] = $option;
            } else {
                [$name, $argument] = self::argument($text, trim($help));
                $arguments[$name] = $argument;
            }
        }

        return new self($match[1], $arguments, $options);
    }

    /** @return array{0: string, 1: array{required: bool, list: bool, default: string|null, help: string}} */
    private static function argument(string $text, string $help): array
    {
        [$name, $default] = explode('=', $text, 2) + [1 => null];
        $list = str_ends_with($name, '*');
        $name = rtrim($name, '*');
        $optional = str_ends_with($name, '?') || $default !== null;

        return [trim(rtrim($name, '?')), compact('list', 'default', 'help') + ['required' => !$optional]];
    }

    /** @return array{0: string, 1: array{value: bool, list: bool, default: string|null, help: string, short: string|null}} */
    private static function option(string $text, string $help): array
    {
        [$name, $default] = explode('=', $text, 2) + [1 => null];
        $value = $default !== null;
        $list = $default === '*';
        $default = $list || $default === '' ? null : $default;
        [$short, $long] = str_contains($name, '|') ? explode('|', $name, 2) : [null, $name];

        return [trim($long), compact('value', 'list', 'default', 'help', 'short')];
    }
}
