<?php

/**
 * The exit and the output of a child process.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use PHPUnit\Framework\Assert;

final class ProcessResult
{
    /**
     * @param int|null $exitCode null where a signal ended it
     * @param int|null $signal the signal that ended it, null where it exited by itself
     * @param bool $timedOut it had to be killed because it did not end in time
     * @param float $seconds wall clock from start to end
     */
    public function __construct(
        public readonly string $stdout,
        public readonly string $stderr,
        public readonly ?int $exitCode,
        public readonly ?int $signal,
        public readonly bool $timedOut,
        public readonly float $seconds
    ) {
    }

    /**
     * Fails the test, showing the output, unless the process exited with that code by itself and in time.
     */
    public function assertExit(int $code = 0): self
    {
        Assert::assertFalse($this->timedOut, 'It did not end in time. ' . $this->describe());
        Assert::assertNull($this->signal, 'A signal ended it. ' . $this->describe());
        Assert::assertSame($code, $this->exitCode, $this->describe());

        return $this;
    }

    /**
     * The standard output decoded from JSON: the return value of a snippet.
     */
    public function json(): mixed
    {
        $this->assertExit();
        $value = json_decode($this->stdout, true);
        Assert::assertSame(JSON_ERROR_NONE, json_last_error(), 'Its output is no JSON. ' . $this->describe());

        return $value;
    }

    /**
     * The non-empty lines of the standard output.
     *
     * @return list<string>
     */
    public function lines(): array
    {
        return array_values(array_filter(explode("\n", $this->stdout), static fn (string $line) => $line !== ''));
    }

    public function describe(): string
    {
        $end = match (true) {
            $this->timedOut => 'killed after',
            $this->signal !== null => 'signal ' . $this->signal . ' after',
            default => 'exit code ' . $this->exitCode . ' after',
        };

        return sprintf("%s %.1f s\n--- stdout\n%s\n--- stderr\n%s", $end, $this->seconds, $this->stdout, $this->stderr);
    }
}
