<?php

/**
 * The decoded output of realtime:kafka:consume --json.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

use PHPUnit\Framework\Assert;
use Toporia\Realtime\Tests\Support\ProcessResult;

final class Report
{
    /** @var list<array<string, mixed>> */
    public array $objects = [];

    public function __construct(public ProcessResult $result)
    {
        foreach ($result->lines() as $line) {
            $object = json_decode($line, true);
            Assert::assertIsArray($object, "'$line' is no JSON object. " . $result->describe());
            $this->objects[] = $object;
        }
    }

    /**
     * The last line; fails unless it is the summary and the exit code of the process matches it.
     *
     * @return array<string, mixed>
     */
    public function summary(int $code = 0): array
    {
        $this->result->assertExit($code);
        $last = end($this->objects) ?: [];
        Assert::assertSame('summary', $last['type'] ?? null, $this->result->describe());
        Assert::assertSame($code, $last['exit_code']);

        return $last;
    }

    /**
     * The lines of one type.
     *
     * @return list<array<string, mixed>>
     */
    public function of(string $type): array
    {
        return array_values(array_filter($this->objects, static fn (array $object) => $object['type'] === $type));
    }

    /**
     * The events of the messages that were printed, in order.
     *
     * @return list<string>
     */
    public function events(): array
    {
        return array_map(static fn (array $object) => $object['message']['event'], $this->of('message'));
    }
}
