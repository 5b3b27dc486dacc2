<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/** A single finding of the doctor. */
final class Finding
{
    public const OK = 'ok';
    /** Works, but needs attention. */
    public const WARNING = 'warning';
    /** Does not work, or loses something. */
    public const ERROR = 'error';
    /** Not checked; the text says why. */
    public const SKIPPED = 'skipped';

    /**
     * @param self::OK|self::WARNING|self::ERROR|self::SKIPPED $level
     * @param string $subject what it is about: `broker kafka-1:9092`, `topic realtime.user`
     * @param string $text description
     * @param string|null $remedy what to do: a command or a setting; never null for warnings and errors
     * @param array<string, mixed> $facts machine-readable details; null values are left out
     */
    public function __construct(
        public readonly string $level,
        public readonly string $subject,
        public readonly string $text,
        public readonly ?string $remedy = null,
        public readonly array $facts = []
    ) {
    }

    /** @param array<string, mixed> $facts */
    public static function ok(string $subject, string $text, array $facts = []): self
    {
        return new self(self::OK, $subject, $text, null, $facts);
    }

    /** @param array<string, mixed> $facts */
    public static function warning(string $subject, string $text, string $remedy, array $facts = []): self
    {
        return new self(self::WARNING, $subject, $text, $remedy, $facts);
    }

    /** @param array<string, mixed> $facts */
    public static function error(string $subject, string $text, string $remedy, array $facts = []): self
    {
        return new self(self::ERROR, $subject, $text, $remedy, $facts);
    }

    /** @param string|null $because reason why the check could not run; null: it chose not to */
    public static function skipped(string $subject, string $why, ?string $because = null): self
    {
        return new self(self::SKIPPED, $subject, $why, null, ['because' => $because]);
    }
}
