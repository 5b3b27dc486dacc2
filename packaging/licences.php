<?php

/**
 * Prints the licence notices of all code that is linked into the extension; fails if a text is missing.
 *
 *     cargo metadata --locked --format-version 1 --filter-platform PLATFORM | php packaging/licences.php PLATFORM
 *
 * cargo-about is not used: it would have to be built first (five minutes, and a newer Rust than the extension needs),
 * and it does not find the C libraries inside the crates.
 */

declare(strict_types=1);

require __DIR__ . '/linked.php';

/** File names of licences in packages. */
const TEXTS = '/^(licen[cs]e|copying|copyright|notice|unlicense)/i';

/**
 * @param array<string, mixed> $package
 *
 * @return list<string> the texts in a package's own folder
 */
function texts(array $package): array
{
    $folder = dirname($package['manifest_path']);
    $names = array_filter((array) scandir($folder), static fn ($name) => preg_match(TEXTS, (string) $name) === 1);
    $texts = [];
    foreach ($names as $name) {
        if (is_file("$folder/$name")) {
            $texts[] = trim(str_replace("\r", '', (string) file_get_contents("$folder/$name")));
        }
    }

    return $texts;
}

$bundled = bundled($argv[1] ?? stop('the platform is missing.'));
[$crate, $packages, $linked] = read_metadata();

$owners = [];
$libraries = [];
foreach ($linked as $package) {
    $title = "$package[name] $package[version] ($package[license])";
    $texts = texts($package);
    // Some workspaces ship the text in one of their crates only.
    foreach ($texts === [] ? $packages : [] as $sibling) {
        if ($sibling['repository'] === $package['repository'] && $sibling['license'] === $package['license']) {
            $texts = texts($sibling);
            if ($texts !== []) {
                break;
            }
        }
    }
    if ($texts === []) {
        stop("the crate $title contains no licence text, nor does another crate of $package[repository].");
    }
    foreach ($texts as $text) {
        $owners[$text][] = $title;
    }
    if (isset($bundled[$package['name']])) {
        [$library, $file] = $bundled[$package['name']];
        $path = dirname($package['manifest_path']) . "/$file";
        if (!is_file($path)) {
            stop("$library, inside the crate $title, no longer contains $file; see packaging/licences.php.");
        }
        $libraries["$library, inside $package[name] $package[version]"] = trim((string) file_get_contents($path));
    }
}
if (count($libraries) !== count($bundled)) {
    stop('of the C libraries ' . implode(', ', array_keys($bundled)) . ' not all are linked; see packaging/licences.php.');
}
$libraries["Rust's standard library"] = trim((string) file_get_contents(__DIR__ . '/licences/rust-std.txt'));

$rule = str_repeat('=', 100);
echo "Licences of the software that is linked into toporia_realtime $crate[version]\n\n";
$system = isset($bundled['zstd-sys']) ? ' and the C library' : ', zstd (BSD-3-Clause) and glibc (LGPL-2.1-or-later)';
echo "The extension itself is under the licence in the file LICENSE. The system's shared libraries are not part of it:\n";
echo "OpenSSL (Apache-2.0)$system.\n\nCrates:\n\n";
foreach ($linked as $package) {
    echo "  $package[name] $package[version] ($package[license])\n";
}
echo "\nC libraries, and Rust's own:\n\n";
foreach (array_keys($libraries) as $name) {
    echo "  $name\n";
}
foreach ($libraries as $name => $text) {
    echo "\n$rule\n$name\n$rule\n\n$text\n";
}
foreach ($owners as $text => $titles) {
    echo "\n$rule\n" . implode("\n", array_unique($titles)) . "\n$rule\n\n$text\n";
}
