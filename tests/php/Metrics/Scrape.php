<?php

/**
 * One exposition, parsed strictly: families with their type and help, samples by name and labels.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Metrics;

use PHPUnit\Framework\Assert;

final class Scrape
{
    /** @var array<string, array{type: string, help: string}> by the name in the description */
    public array $families = [];
    /** @var array<string, float> by the sample as it is written, labels sorted */
    public array $samples = [];

    public function __construct(public readonly string $text)
    {
        foreach (explode("\n", rtrim($text, "\n")) as $line) {
            if ($line === '# EOF') {
                continue;
            }
            if (preg_match('/^# HELP (\S+) (.+)$/', $line, $match)) {
                Assert::assertArrayNotHasKey($match[1], $this->families, 'described twice');
                $this->families[$match[1]] = ['help' => $match[2], 'type' => ''];
            } elseif (preg_match('/^# TYPE (\S+) (counter|gauge|histogram)$/', $line, $match)) {
                $this->families[$match[1]]['type'] = $match[2];
            } elseif (preg_match('/^([a-z_]+)(?:\{(.*)\})? (\S+)$/', $line, $match)) {
                $key = $match[1] . '{' . self::sorted($match[2]) . '}';
                Assert::assertArrayNotHasKey($key, $this->samples, 'a series twice');
                $this->samples[$key] = (float) $match[3];
            } else {
                Assert::fail("Not a line of an exposition: $line");
            }
        }
    }

    /**
     * The value of a series; null if it does not exist.
     *
     * @param array<string, string> $labels
     */
    public function value(string $name, array $labels = []): ?float
    {
        ksort($labels);
        $pairs = array_map(static fn ($key, $value) => "$key=\"$value\"", array_keys($labels), $labels);

        return $this->samples[$name . '{' . implode(',', $pairs) . '}'] ?? null;
    }

    /**
     * All series of a metric.
     *
     * @return array<string, float>
     */
    public function all(string $name): array
    {
        return array_filter($this->samples, static fn ($key) => str_starts_with($key, $name . '{'), ARRAY_FILTER_USE_KEY);
    }

    private static function sorted(string $labels): string
    {
        preg_match_all('/[a-z_]+="(?:[^"\\\\]|\\\\.)*"/', $labels, $match);
        sort($match[0]);

        return implode(',', $match[0]);
    }
}
