<?php

/**
 * Prints the bill of materials of the extension, CycloneDX 1.5 as JSON: every crate and C library that is linked into it.
 *
 *     cargo metadata --locked --format-version 1 --filter-platform PLATFORM \
 *         | SOURCE_DATE_EPOCH=… php packaging/sbom.php PLATFORM 1.95.0
 *
 * The last argument is the version of Rust, whose standard library is part of every binary. The same input gives the same
 * output.
 */

declare(strict_types=1);

require __DIR__ . '/linked.php';

/** @return array<string, string> checksums of the crates by "name version", as Cargo.lock has them */
function checksums(): array
{
    $pattern = '/^name = "(.+)"\nversion = "(.+)"\nsource = .+\nchecksum = "(.+)"$/m';
    preg_match_all($pattern, (string) file_get_contents(dirname(__DIR__) . '/Cargo.lock'), $found, PREG_SET_ORDER);
    $checksums = [];
    foreach ($found as [, $name, $version, $checksum]) {
        $checksums["$name $version"] = $checksum;
    }

    return $checksums;
}

/** The version of the C library inside a crate: the part of the crate's version behind the plus, or zlib's header. */
function bundled_version(array $package): string
{
    if (preg_match('/\+(?:zstd\.)?([0-9.]+)$/', $package['version'], $match) === 1) {
        return $match[1];
    }
    $header = (string) @file_get_contents(dirname($package['manifest_path']) . '/src/zlib/zlib.h');
    if (preg_match('/ZLIB_VERSION "([0-9.]+)/', $header, $match) !== 1) {
        stop("the version of the C library inside $package[name] $package[version] is unknown; see packaging/sbom.php.");
    }

    return $match[1];
}

[$bundled, $rust] = [bundled($argv[1] ?? ''), $argv[2] ?? stop('platform and version of Rust are missing.')];
[$crate, , $linked, $nodes] = read_metadata();
$checksums = checksums();
$reference = static fn (array $package): string => "pkg:cargo/$package[name]@$package[version]";

$components = [];
$dependencies = [];
foreach ([$crate['id'] => $crate] + $linked as $id => $package) {
    $names = array_intersect_key($linked, array_flip($nodes[$id]['dependencies']));
    $needs = array_values(array_map($reference, $names));
    if ($id !== $crate['id']) {
        $components[] = [
            'type' => 'library',
            'bom-ref' => $reference($package),
            'name' => $package['name'],
            'version' => $package['version'],
            'purl' => $reference($package),
            // Old crates separate alternatives with a slash.
            'licenses' => [['expression' => str_replace('/', ' OR ', (string) $package['license'])]],
            'hashes' => [['alg' => 'SHA-256', 'content' => $checksums["$package[name] $package[version]"]]],
        ];
    }
    if (isset($bundled[$package['name']])) {
        $version = bundled_version($package);
        $library = $bundled[$package['name']][0];
        $components[] = [
            'type' => 'library',
            'bom-ref' => "pkg:generic/$library@$version",
            'name' => $library,
            'version' => $version,
            'purl' => "pkg:generic/$library@$version",
        ];
        $needs[] = "pkg:generic/$library@$version";
    }
    $dependencies[] = ['ref' => $reference($package), 'dependsOn' => $needs];
}
$components[] = [
    'type' => 'library',
    'bom-ref' => "pkg:generic/rust-std@$rust",
    'name' => 'rust-std',
    'version' => $rust,
    'purl' => "pkg:generic/rust-std@$rust",
];

$bom = [
    'bomFormat' => 'CycloneDX',
    'specVersion' => '1.5',
    'version' => 1,
    'metadata' => [
        'timestamp' => gmdate('Y-m-d\TH:i:s\Z', (int) (getenv('SOURCE_DATE_EPOCH') ?: stop('SOURCE_DATE_EPOCH is not set.'))),
        'component' => [
            'type' => 'library',
            'bom-ref' => $reference($crate),
            'name' => $crate['name'],
            'version' => $crate['version'],
            'purl' => "pkg:composer/toporia/realtime-ext@$crate[version]",
            'licenses' => [['license' => ['id' => $crate['license']]]],
        ],
    ],
    'components' => $components,
    'dependencies' => $dependencies,
];
echo json_encode($bom, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR), "\n";
