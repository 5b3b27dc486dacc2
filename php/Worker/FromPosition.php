<?php

declare(strict_types=1);

namespace Toporia\Realtime\Worker;

use DateTimeImmutable;
use Exception;

/**
 * Parses --from: the position to start consuming at. `committed` (the group's committed offsets), `beginning`, `end`,
 * an ISO 8601 time, or Unix seconds.
 */
final class FromPosition
{
    private const ISO_8601
        = '/\A\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?\s?(Z|[+-]\d{2}(:?\d{2})?)?)?\z/i';

    private function __construct(private string|DateTimeImmutable $position)
    {
    }

    /** @throws UsageError neither a keyword nor a valid time */
    public static function parse(mixed $value): self
    {
        $text = OptionValue::text('--from', $value) ?? 'committed';
        if (in_array($text, ['committed', 'beginning', 'end'], true)) {
            return new self($text);
        }
        if (preg_match('/\A\d{1,11}\z/', $text) === 1) {
            return new self(new DateTimeImmutable('@' . $text));
        }
        if (preg_match(self::ISO_8601, $text) === 1 && checkdate(...self::date($text))) {
            try {
                return new self(new DateTimeImmutable($text));
            } catch (Exception) {
                // A time that does not exist, such as hour 25: rejected below.
            }
        }
        throw new UsageError(
            '--from=' . OptionValue::shown($value) . ' is not valid. Expected committed, beginning, end, an ISO 8601 '
                . 'time such as 2026-01-31T08:00:00Z, or Unix seconds.'
        );
    }

    public function seeks(): bool
    {
        return $this->position !== 'committed';
    }

    /** The argument for Broker::seek(). */
    public function position(): string|DateTimeImmutable
    {
        return $this->position;
    }

    /** A readable form: `the beginning`, `2026-01-31T08:00:00+00:00`. */
    public function describe(): string
    {
        return match (true) {
            $this->position instanceof DateTimeImmutable => $this->position->format(DATE_ATOM),
            $this->position === 'committed' => 'the committed offsets',
            default => 'the ' . $this->position,
        };
    }

    /** @return array{0: int, 1: int, 2: int} month, day, year */
    private static function date(string $text): array
    {
        return [(int) substr($text, 5, 2), (int) substr($text, 8, 2), (int) substr($text, 0, 4)];
    }
}
