<?php

/**
 * Writes a PHPUnit configuration for one part of some suites, so that the parts can run side by side.
 *
 *     php tests/support/part.php broker,kafka 1/2     prints the path of the file it wrote
 *
 * Each test file is in exactly one part; the files are distributed over the parts in the order of their names.
 */

declare(strict_types=1);

[, $suites, $part] = $argv + [1 => '', 2 => ''];
$usage = "Usage: php tests/support/part.php SUITE[,SUITE…] K/N, with K from 1 to N\n";
if (preg_match('~\A([1-9]\d?)/([1-9]\d?)\z~', $part, $numbers) !== 1 || $numbers[1] > $numbers[2]) {
    fwrite(STDERR, $usage);
    exit(2);
}
$root = dirname(__DIR__, 2);
$document = new DOMDocument();
$document->load("$root/phpunit.xml");
$xpath = new DOMXPath($document);

$files = [];
foreach (explode(',', $suites) as $suite) {
    $directories = $xpath->query("//testsuite[@name='$suite']/directory");
    if ($directories->length === 0) {
        fwrite(STDERR, "phpunit.xml has no suite '$suite'.\n$usage");
        exit(2);
    }
    foreach ($directories as $directory) {
        assert($directory instanceof DOMElement);
        $in = new RecursiveDirectoryIterator("$root/" . trim($directory->textContent));
        foreach (new RecursiveIteratorIterator($in) as $path => $_) {
            if (str_ends_with($path, $directory->getAttribute('suffix'))) {
                $files[] = $path;
            }
        }
    }
}
$files = array_unique($files);
sort($files);
$mine = array_filter($files, static fn (int $n): bool => $n % $numbers[2] === $numbers[1] - 1, ARRAY_FILTER_USE_KEY);

$all = $xpath->query('//testsuites')->item(0);
$all->textContent = '';
$suite = $all->appendChild($document->createElement('testsuite'));
$suite->setAttribute('name', "$suites, part $part");
foreach ($mine as $file) {
    $suite->appendChild($document->createElement('file', $file));
}
$name = 'phpunit-' . strtr($suites, ',', '-') . "-$numbers[1]-of-$numbers[2]";
$document->documentElement->setAttribute('bootstrap', "$root/tests/php/bootstrap.php");
is_dir("$root/build") || mkdir("$root/build", 0777, true);
$document->save("$root/build/$name.xml");
echo "$root/build/$name.xml\n";
