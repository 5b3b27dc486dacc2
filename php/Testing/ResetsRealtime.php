<?php

/**
 * Makes each test of an application begin without the fake, the configuration and the subscriptions of the one before.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Testing;

use PHPUnit\Framework\Attributes\After;
use Toporia\Realtime\Realtime;

/**
 * For a PHPUnit test case:
 *
 *     final class CheckoutTest extends TestCase
 *     {
 *         use ResetsRealtime;
 *
 *         public function testItTellsTheCustomer(): void
 *         {
 *             $fake = Realtime::fake();
 *             (new Checkout())->pay();
 *             $fake->assertBroadcast('user.1', 'order.paid');
 *         }
 *     }
 */
trait ResetsRealtime
{
    /**
     * Ends fake() and swap(), and forgets what configure() was given.
     *
     * @after
     */
    #[After]
    public function resetRealtime(): void
    {
        Realtime::restore();
        Realtime::configure([]);
    }
}
