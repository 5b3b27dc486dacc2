<?php

/**
 * The parsed output of realtime:doctor --json.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\Assert;

final class DoctorReport
{
    /** @var list<array<string, mixed>> */
    public array $findings = [];
    /** @var array<string, mixed> */
    public array $summary = [];

    public function __construct(public readonly ProcessResult $result)
    {
        foreach ($result->lines() as $line) {
            $object = json_decode($line, true);
            Assert::assertIsArray($object, "No JSON: $line");
            match ($object['type'] ?? null) {
                'start' => null,
                'finding' => $this->findings[] = $object,
                'summary' => $this->summary = $object,
                default => Assert::fail("An object of another type: $line"),
            };
        }
        Assert::assertNotSame([], $this->summary, 'The last line is the summary. ' . $result->describe());
        Assert::assertSame($result->exitCode, $this->summary['exit_code']);
        foreach ($this->findings as $finding) {
            // Every fault comes with a suggestion.
            $needed = in_array($finding['level'], ['error', 'warning'], true);
            Assert::assertSame($needed, ($finding['remedy'] ?? '') !== '', (string) json_encode($finding));
        }
    }

    /**
     * The finding of that check and level whose text matches; fails if there is none.
     *
     * @return array<string, mixed>
     */
    public function expect(string $level, string $check, string $text, string $remedy = ''): array
    {
        foreach ($this->of($check) as $finding) {
            $whole = "$finding[subject]: $finding[text]";
            if ($finding['level'] === $level && preg_match($text, $whole) === 1) {
                if ($remedy !== '') {
                    Assert::assertMatchesRegularExpression($remedy, $finding['remedy']);
                }

                return $finding;
            }
        }
        Assert::fail("No $level finding of $check like $text. " . $this->result->describe());
    }

    /** @return list<array<string, mixed>> */
    public function of(string $check): array
    {
        return array_values(array_filter($this->findings, static fn (array $one): bool => $one['check'] === $check));
    }

    /**
     * The levels of a check's findings.
     *
     * @return list<string>
     */
    public function levels(string $check): array
    {
        return array_column($this->of($check), 'level');
    }
}
