<?php

/**
 * Lists the tests that failed in a PHPUnit run, from its JUnit report, so that each can be run again alone.
 *
 *     php tests/support/failed.php build/test-output/kafka-1.xml 5
 *
 * One line per test: its file, a tab, its class and method (all data sets run again). Exits with 1 and the reason on
 * stderr if no test should run again: PHPUnit crashed without a report, no test failed (a test was skipped or risky,
 * which a second run would not change), or more tests failed than the given number, too many for a busy machine.
 */

declare(strict_types=1);

[, $report, $atMost] = $argv + [1 => '', 2 => (string) PHP_INT_MAX];
$document = new DOMDocument();
if (!is_file($report) || filesize($report) === 0 || !$document->load($report)) {
    fwrite(STDERR, "    PHPUnit did not write the report '$report'.\n");
    exit(1);
}
$failed = [];
foreach ((new DOMXPath($document))->query('//testcase[failure or error]') as $case) {
    assert($case instanceof DOMElement);
    $method = explode(' ', $case->getAttribute('name'))[0];
    $failed["{$case->getAttribute('file')}\t{$case->getAttribute('class')}::$method"] ??= $case;
}
$why = match (true) {
    $failed === [] => 'No test failed: one was skipped, incomplete or warned.',
    count($failed) > (int) $atMost => sprintf("%d tests failed, more than %d:", count($failed), $atMost),
    default => null,
};
if ($why === null) {
    echo implode("\n", array_keys($failed)), "\n";
    exit(0);
}
fwrite(STDERR, "    $why\n");
foreach ($failed as $line => $_) {
    fwrite(STDERR, '      ' . explode("\t", $line)[1] . "\n");
}
exit(1);
