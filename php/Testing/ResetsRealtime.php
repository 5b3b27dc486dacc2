<?php

declare(strict_types=1);

namespace Toporia\Realtime\Testing;

use PHPUnit\Framework\Attributes\After;
use Toporia\Realtime\Realtime;

/**
 * Resets the fake, the configuration and the subscriptions after each test. For PHPUnit test cases:
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
     * Ends fake() and swap(), and resets the configuration.
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
