<?php

/**
 * One fenced block of a README, and the comment above it that says how to run it.
 *
 * HTML comments, on the line above the fence:
 *
 *     <!-- run -->                        it is run on the embedded broker and must exit with 0
 *     <!-- run: prints "order.created" -->   and its output contains that
 *     <!-- file: worker.php -->           it is saved under that name, for the blocks after it
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Readme;

final class CodeBlock
{
    public function __construct(
        public readonly string $language,
        public readonly string $code,
        public readonly int $line,
        public readonly bool $runs,
        public readonly ?string $prints,
        public readonly ?string $file
    ) {
    }

    /**
     * The php and bash blocks of a Markdown file, in order.
     *
     * @return list<self>
     */
    public static function in(string $path): array
    {
        $markdown = (string) file_get_contents($path);
        $fence = '/(?:^[ \t]*<!--\s*(?<comment>[^\n]*?)\s*-->[ \t]*\n\s*?)?'
            . '^(?<indent>[ \t]*)```(?<language>php|bash|sh)[ \t]*\n(?<code>.*?)^\k<indent>```[ \t]*$/ms';
        preg_match_all($fence, $markdown, $found, PREG_SET_ORDER | PREG_OFFSET_CAPTURE | PREG_UNMATCHED_AS_NULL);

        return array_map(static function (array $match) use ($markdown): self {
            $comment = (string) $match['comment'][0];
            preg_match('/^run(?::\s*prints "(?<prints>[^"]+)")?$/', $comment, $run);
            preg_match('/^file:\s*(?<file>[\w.\/-]+)$/', $comment, $file);

            return new self(
                $match['language'][0] === 'php' ? 'php' : 'bash',
                (string) preg_replace('/^' . preg_quote($match['indent'][0], '/') . '/m', '', $match['code'][0]),
                substr_count($markdown, "\n", 0, $match['language'][1]) + 1,
                $run !== [],
                $run['prints'] ?? null,
                $file['file'] ?? null
            );
        }, $found);
    }
}
