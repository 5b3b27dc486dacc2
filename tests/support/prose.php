<?php

/**
 * Checks the prose of the project: comments in src, php and tests, and the length of lines in src, README.md and docs.
 *
 *     php tests/support/prose.php         exits with 1 and lists the offending places if a limit is exceeded
 *     php tests/support/prose.php -v      lists the places even if no limit is exceeded
 *
 * Comments name the component that acts instead of "whoever" or "nobody", do not begin a sentence with a relative
 * clause ("What goes to …"), and do not repeat the name below them. The limits are per 1,000 words of a directory,
 * because such words are occasionally correct.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use FilesystemIterator;
use RecursiveDirectoryIterator;
use RecursiveIteratorIterator;

/** Per 1,000 words of comments. */
const LIMITS = ['people' => 0.2, 'clauses' => 0.6];
/** Maximum length of a line, in characters. */
const LINE = 120;
/** A doc comment with at most this many words must say more than the name below it. */
const SHORT_DOC = 3;
const PATTERNS = [
    'people' => '~\b(?:whoever|nobody|somebody|anybody)\b~i',
    'clauses' => '~(?:^|[.!?]\s+|\n\s*\n)\s*(?:[-*]\s+)?(?:What|Who|Where|Whether)\b~',
];

/**
 * @param list<string> $extensions
 *
 * @return list<string> the files in a directory, or the file itself
 */
function files(string $path, array $extensions): array
{
    if (is_file($path)) {
        return [$path];
    }
    $files = [];
    $directory = new RecursiveDirectoryIterator($path, FilesystemIterator::SKIP_DOTS);
    foreach (new RecursiveIteratorIterator($directory) as $file) {
        $name = (string) $file;
        if (in_array(pathinfo($name, PATHINFO_EXTENSION), $extensions, true) && !str_contains($name, 'node_modules')) {
            $files[] = $name;
        }
    }
    sort($files);

    return $files;
}

/** @return list<array{line: int, text: string, doc: bool}> */
function phpComments(string $source): array
{
    $comments = [];
    foreach (token_get_all($source) as $token) {
        if (!is_array($token) || !in_array($token[0], [T_COMMENT, T_DOC_COMMENT], true)) {
            continue;
        }
        [$kind, $text, $line] = $token;
        $text = trim((string) preg_replace(['~^\s*(?:/\*\*?|\*/|\*|//|#)\s?|\*/\s*$~m', '~@\w+.*~s'], '', $text));
        $last = array_key_last($comments);
        // Lines of // that follow each other are one comment.
        if ($kind === T_COMMENT && $last !== null && !$comments[$last]['doc'] && $comments[$last]['end'] + 1 === $line) {
            $comments[$last]['text'] .= "\n$text";
            $comments[$last]['end'] = $line;
        } else {
            $end = $line + substr_count($text, "\n");
            $comments[] = ['line' => $line, 'text' => $text, 'doc' => $kind === T_DOC_COMMENT, 'end' => $end];
        }
    }

    return $comments;
}

/** @return list<array{line: int, text: string, doc: bool}> */
function rustComments(string $source): array
{
    $comments = [];
    $open = null;
    foreach (explode("\n", $source) as $index => $line) {
        $own = preg_match('~^\s*(///|//!|//)\s?(.*)$~', $line, $match) === 1;
        if ($own && $open === $match[1]) {
            $comments[array_key_last($comments)]['text'] .= "\n$match[2]";
            continue;
        }
        $open = $own ? $match[1] : null;
        if ($own || preg_match('~\s(//)\s(.*)$~', $line, $match) === 1) {
            $comments[] = ['line' => $index + 1, 'text' => $match[2], 'doc' => $own && $match[1] !== '//'];
        }
    }

    return $comments;
}

/** True if every word of a doc comment is in the declaration below it: "The channel." above `channel: String`. */
function repeatsName(string $text, string $source, int $line): bool
{
    $lines = array_slice(explode("\n", $source), $line - 1, 6);
    $isCode = static fn (string $line): bool => preg_match('~^\s*(?://|#\[|/?\*|$)~', $line) !== 1;
    $code = strtolower((string) current(array_filter($lines, $isCode)));
    $words = array_diff(preg_split('~[^a-z]+~', strtolower($text), -1, PREG_SPLIT_NO_EMPTY) ?: [], ['a', 'an', 'the', 'its', 'of']);
    foreach ($words as $word) {
        if (!str_contains($code, rtrim($word, 's'))) {
            return false;
        }
    }

    return $words !== [];
}

/** @return list<string> the places of lines that are too long */
function longLines(string $file): array
{
    $places = [];
    foreach (file($file, FILE_IGNORE_NEW_LINES) ?: [] as $index => $line) {
        // Rows of Markdown tables and single long words cannot be wrapped.
        $fixed = str_ends_with($file, '.md') && str_starts_with(ltrim($line), '|');
        if (!$fixed && mb_strlen($line) > LINE && str_contains(trim($line), ' ')) {
            $places[] = sprintf('%s:%d: %d characters', $file, $index + 1, mb_strlen($line));
        }
    }

    return $places;
}

chdir(dirname(__DIR__, 2));
$verbose = in_array('-v', $argv, true);
$failed = false;

foreach (['src', 'php', 'tests'] as $root) {
    $words = 0;
    $places = ['people' => [], 'clauses' => [], 'short' => []];
    foreach (files($root, ['rs', 'php']) as $file) {
        $source = (string) file_get_contents($file);
        foreach (str_ends_with($file, '.php') ? phpComments($source) : rustComments($source) as $comment) {
            $text = (string) preg_replace('~```.*?```~s', '', $comment['text']);
            $count = (int) preg_match_all('~[A-Za-z]+~', $text);
            $words += $count;
            $place = "$file:{$comment['line']}: " . mb_substr(strtr($text, "\n", ' '), 0, 90);
            foreach (PATTERNS as $kind => $pattern) {
                $found = (int) preg_match_all($pattern, $text);
                array_push($places[$kind], ...array_fill(0, $found, $place));
            }
            if ($comment['doc'] && $count > 0 && $count <= SHORT_DOC && repeatsName($text, $source, $comment['line'])) {
                $places['short'][] = $place;
            }
        }
    }
    foreach ($places as $kind => $found) {
        $rate = $words === 0 ? 0.0 : 1000 * count($found) / $words;
        $exceeded = isset(LIMITS[$kind]) ? $rate > LIMITS[$kind] : $found !== [];
        $failed = $failed || $exceeded;
        if ($exceeded || $verbose) {
            $text = match ($kind) {
                'people' => 'comments with "whoever", "nobody", "somebody" or "anybody"',
                'clauses' => 'sentences that begin with What, Who, Where or Whether',
                'short' => 'doc comments of ' . SHORT_DOC . ' words or fewer that repeat a name',
            };
            $limit = isset(LIMITS[$kind]) ? sprintf('%.2f per 1,000 words, limit %.1f', $rate, LIMITS[$kind]) : 'limit 0';
            printf("%s: %d %s (%s)\n", $root, count($found), $text, $limit);
            echo $found === [] ? '' : '  ' . implode("\n  ", $found) . "\n";
        }
    }
}

$long = [];
foreach (['src', 'README.md', 'docs'] as $root) {
    foreach (files($root, ['rs', 'php', 'md']) as $file) {
        array_push($long, ...longLines($file));
    }
}
if ($long !== []) {
    $failed = true;
    printf("%d lines longer than %d characters\n  %s\n", count($long), LINE, implode("\n  ", $long));
}
exit($failed ? 1 : 0);
