<?php

/**
 * Says "passed" and "failed" in the language of the test framework at hand.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Testing;

use AssertionError;
use PHPUnit\Framework\Assert;

/**
 * PHPUnit's assertions where it is loaded (they are counted, and a failure is a failure); else AssertionError.
 */
final class Assertion
{
    /**
     * @throws AssertionError without PHPUnit, which throws its own
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
