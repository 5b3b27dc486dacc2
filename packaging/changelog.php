<?php

/**
 * The changelog of a release.
 *
 *     php packaging/changelog.php release 0.2.0 2026-12-01     "Unreleased" becomes the section of the version
 *     php packaging/changelog.php notes 0.2.0                  prints the section of the version
 *
 * A section of the version that is "not released yet" is joined with "Unreleased", kind by kind (Added, Fixed, …). The
 * file is the CHANGELOG.md of the current directory.
 */

declare(strict_types=1);

const FILE = 'CHANGELOG.md';

/** @return never */
function stop(string $why): void
{
    fwrite(STDERR, "Error: $why\n");
    exit(1);
}

/** @return list<array{string, string}> the heading and the text of each section; the first has no heading */
function sections(string $text, string $level): array
{
    $parts = preg_split("/^($level .*)\n/m", $text, -1, PREG_SPLIT_DELIM_CAPTURE) ?: [''];
    $sections = [['', (string) array_shift($parts)]];
    foreach (array_chunk($parts, 2) as [$heading, $body]) {
        $sections[] = [$heading, $body];
    }

    return $sections;
}

/** The entries of both texts under one heading for each kind. */
function join_kinds(string $newer, string $older): string
{
    $kinds = [];
    foreach ([...sections($newer, '###'), ...sections($older, '###')] as [$heading, $body]) {
        if (trim($body) !== '') {
            $kinds[$heading][] = trim($body, "\n");
        }
    }
    $text = '';
    foreach ($kinds as $heading => $bodies) {
        $text .= "\n" . ($heading === '' ? '' : "$heading\n\n") . implode("\n", $bodies) . "\n";
    }

    return $text;
}

function section(string $text, string $version): ?string
{
    foreach (sections($text, '##') as [$heading, $body]) {
        if (str_starts_with($heading, "## [$version]")) {
            return $body;
        }
    }

    return null;
}

function release(string $text, string $version, string $date): string
{
    $unreleased = section($text, 'Unreleased') ?? stop(FILE . ' has no section "Unreleased".');
    $pending = '';
    $sections = [];
    foreach (sections($text, '##') as [$heading, $body]) {
        if (str_starts_with($heading, "## [$version]")) {
            if (!str_contains($heading, 'not released yet')) {
                stop(FILE . " already has a released section: $heading");
            }
            $pending = $body;
        } elseif ($heading !== '## [Unreleased]') {
            $sections[] = $heading === '' ? $body : "$heading\n$body";
        }
    }
    $entries = join_kinds($unreleased, $pending);
    if (trim($entries) === '') {
        stop('"Unreleased" has no entry: there is nothing to release.');
    }
    $first = (string) array_shift($sections);
    $older = $sections === [] ? '' : "\n" . implode('', $sections);

    return "$first## [Unreleased]\n\n## [$version] - $date\n$entries$older";
}

[, $action, $version, $date] = $argv + [1 => '', 2 => '', 3 => ''];
$text = (string) file_get_contents(FILE);
if ($action === 'release' && $date !== '') {
    file_put_contents(FILE, release($text, $version, $date));
} elseif ($action === 'notes' && $version !== '') {
    $notes = section($text, $version) ?? stop(FILE . " has no section for $version.");
    echo trim($notes) === '' ? stop("the section of $version in " . FILE . ' is empty.') : ltrim($notes, "\n");
} else {
    stop('usage: changelog.php release VERSION DATE | notes VERSION');
}
