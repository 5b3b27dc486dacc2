<?php

/**
 * One line of the doctor's report.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor;

final class Finding
{
    /**
     * @param string $subject where: `broker kafka-1:9092`, `topic realtime.user`
     * @param string $text what was found there
     * @param string|null $remedy what to do, as a command or a setting; never null for warnings and errors
     * @param array<string, mixed> $facts the same for programs; null values are left out
     */
    public function __construct(
        public readonly Level $level,
        public readonly string $subject,
        public readonly string $text,
        public readonly ?string $remedy = null,
        public readonly array $facts = []
    ) {
    }

    /** @param array<string, mixed> $facts */
    public static function ok(string $subject, string $text, array $facts = []): self
    {
        return new self(Level::Ok, $subject, $text, null, $facts);
    }

    /** @param array<string, mixed> $facts */
    public static function warning(string $subject, string $text, string $remedy, array $facts = []): self
    {
        return new self(Level::Warning, $subject, $text, $remedy, $facts);
    }

    /** @param array<string, mixed> $facts */
    public static function error(string $subject, string $text, string $remedy, array $facts = []): self
    {
        return new self(Level::Error, $subject, $text, $remedy, $facts);
    }

    /**
     * @param string|null $because what kept a check from running; null: it decided so itself
     */
    public static function skipped(string $subject, string $why, ?string $because = null): self
    {
        return new self(Level::Skipped, $subject, $why, null, ['because' => $because]);
    }
}
