<?php

/**
 * Lists the tests that failed in a PHPUnit run, from its JUnit report, so that each can be run again alone.
 *
 *     php tests/support/failed.php build/test-output/kafka-1.xml 5
 *
 * A line each: the test's file, a tab, its class and method (all data sets run again). Ends with 1 and the reason on
 * stderr where nothing is to be run again: PHPUnit itself died and left no report, no test failed (then one was skipped
 * or risky, which it would be again), or more failed than the number given, which is no accident of a busy machine.
 */

declare(strict_types=1);

[, $report, $atMost] = $argv + [1 => '', 2 => (string) PHP_INT_MAX];
$document = new DOMDocument();
if (!is_file($report) || filesize($report) === 0 || !$document->load($report)) {
    fwrite(STDERR, "    PHPUnit left no report at '$report'.\n");
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
