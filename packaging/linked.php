<?php

/**
 * The software that is linked into the extension, from what `cargo metadata` prints on standard input.
 */

declare(strict_types=1);

/** C libraries that a crate compiles and links: the crate's name, the library's name, the path of its notice. */
const BUNDLED = [
    'rdkafka-sys' => ['librdkafka', 'librdkafka/LICENSES.txt'],
    'zstd-sys' => ['zstd', 'zstd/LICENSE'],
    'libz-sys' => ['zlib', 'src/zlib/LICENSE'],
];

/**
 * The libraries of BUNDLED for a platform: with glibc, zstd is the system's (Cargo.toml). What cargo says about features is
 * the same for all platforms.
 *
 * @return array<string, array{string, string}>
 */
function bundled(string $platform): array
{
    return array_diff_key(BUNDLED, str_ends_with($platform, '-gnu') ? ['zstd-sys' => true] : []);
}

/** @return never */
function stop(string $why): void
{
    fwrite(STDERR, "Error: $why\n");
    exit(1);
}

/**
 * The packages that are linked into the binary: normal dependencies, without procedural macros.
 *
 * @param array<string, array<string, mixed>> $packages
 * @param array<string, array<string, mixed>> $nodes
 *
 * @return array<string, true> ids
 */
function linked(string $id, array $packages, array $nodes, array $found = []): array
{
    foreach ($nodes[$id]['deps'] as $dependency) {
        $next = $dependency['pkg'];
        $kinds = array_column($dependency['dep_kinds'], 'kind');
        $isMacro = in_array('proc-macro', array_merge(...array_column($packages[$next]['targets'], 'kind')), true);
        if (in_array(null, $kinds, true) && !$isMacro && !isset($found[$next])) {
            $found[$next] = true;
            $found = linked($next, $packages, $nodes, $found);
        }
    }

    return $found;
}

/**
 * Reads standard input.
 *
 * @return array{array<string, mixed>, array<string, array<string, mixed>>, array<string, array<string, mixed>>,
 *     array<string, array<string, mixed>>} the crate itself, all packages, the linked ones by name, the graph
 */
function read_metadata(): array
{
    $metadata = json_decode((string) stream_get_contents(STDIN), true);
    if (!is_array($metadata) || ($metadata['resolve']['root'] ?? null) === null) {
        stop('standard input is not what `cargo metadata --format-version 1` prints.');
    }
    $packages = array_column($metadata['packages'], null, 'id');
    $nodes = array_column($metadata['resolve']['nodes'], null, 'id');
    $root = $metadata['resolve']['root'];
    $linked = array_intersect_key($packages, linked($root, $packages, $nodes));
    uasort($linked, static fn ($a, $b) => [$a['name'], $a['version']] <=> [$b['name'], $b['version']]);

    return [$packages[$root], $packages, $linked, $nodes];
}
