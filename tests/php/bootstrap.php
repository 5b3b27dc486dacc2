<?php

/**
 * Loads the PHP layer and the test classes; PHPUnit runs it before any test.
 */

declare(strict_types=1);

require dirname(__DIR__, 2) . '/php/autoload.php';

// The machine's configuration must not reach the tests: each test sets its own.
foreach (array_keys(getenv()) as $name) {
    if (preg_match('/^(KAFKA|REALTIME)_/', $name) && !preg_match('/^REALTIME_(TEST_|EXTENSION$)/', $name)) {
        putenv($name);
        unset($_ENV[$name], $_SERVER[$name]);
    }
}
