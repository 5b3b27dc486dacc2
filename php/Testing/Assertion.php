<?php

declare(strict_types=1);

namespace Toporia\Realtime\Testing;

use AssertionError;
use PHPUnit\Framework\Assert;

/**
 * Reports assertions to the test framework in use. Uses PHPUnit's assertions if loaded, so that they are counted;
 * otherwise throws AssertionError.
 */
final class Assertion
{
    /**
     * @throws AssertionError without PHPUnit, which throws its own exception
     */
    public static function that(bool $passed, string $failure): void
    {
        if (class_exists(Assert::class)) {
            $passed ? Assert::assertTrue(true) : Assert::fail($failure);
        }
        if (!$passed) {
            throw new AssertionError($failure);
        }
    }
}
