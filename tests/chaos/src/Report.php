<?php

/**
 * The table of a part: counts, promises, and whether they were kept.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Chaos;

final class Report
{
    private const NAME = 58;
    private const VALUE = 12;

    /** @var list<string> */
    private array $violations = [];

    /** @param string $again the command that repeats it */
    public function __construct(private readonly string $title, private readonly string $again)
    {
    }

    /** Prints the head of the table. */
    public function open(): void
    {
        printf("\n%s\n    %s\n%s\n", $this->title, $this->again, str_repeat('-', self::NAME + self::VALUE + 12));
    }

    /** A number for information only. */
    public function info(string $name, int|float|string $value): void
    {
        $this->line($name, $value, '');
    }

    /**
     * A number that must be zero.
     *
     * @param list<int|string> $which
     */
    public function mustBeEmpty(string $name, array $which): void
    {
        $this->line($name, count($which), $which === [] ? 'ok' : 'VIOLATED');
        if ($which !== []) {
            $this->violations[] = $name . ': ' . implode(', ', array_slice($which, 0, 20))
                . (count($which) > 20 ? ' …' : '');
        }
    }

    /** A statement that must be true. */
    public function mustHold(string $name, int|float|string $value, bool $true): void
    {
        $this->line($name, $value, $true ? 'ok' : 'VIOLATED');
        if (!$true) {
            $this->violations[] = "$name: $value";
        }
    }

    /** @param list<string> $what that must not have happened */
    public function addViolations(array $what): void
    {
        array_push($this->violations, ...$what);
    }

    /** Prints the violations; true if there were none. */
    public function close(): bool
    {
        echo str_repeat('-', self::NAME + self::VALUE + 12), "\n";
        if ($this->violations === []) {
            echo "  Everything held.\n";

            return true;
        }
        foreach ($this->violations as $violation) {
            echo '  VIOLATED  ', str_replace("\n", "\n            ", $violation), "\n";
        }
        echo "  To see it again: $this->again\n";

        return false;
    }

    private function line(string $name, int|float|string $value, string $verdict): void
    {
        $value = is_string($value) ? $value : number_format($value, is_float($value) ? 1 : 0, '.', ' ');
        $padding = str_repeat(' ', max(1, self::NAME - mb_strlen($name)));
        echo rtrim('  ' . $name . $padding . str_pad($value, self::VALUE, ' ', STR_PAD_LEFT) . "  $verdict"), "\n";
    }
}
