<?php

/**
 * Loads the PHP layer and the tests' classes; started by PHPUnit before any test.
 */

declare(strict_types=1);

require dirname(__DIR__, 2) . '/php/autoload.php';

// What the machine has configured must not reach the tests: each one says what it wants.
foreach (array_keys(getenv()) as $name) {
    if (preg_match('/^(KAFKA|REALTIME)_/', $name) && !preg_match('/^REALTIME_(TEST_|EXTENSION$)/', $name)) {
        putenv($name);
        unset($_ENV[$name], $_SERVER[$name]);
    }
}
