<?php

/**
 * What realtime:kafka:consume --json said, decoded.
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
     * The last line; fails unless it is the summary, and the process ended with the code that it says.
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
     * Those of a type.
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
