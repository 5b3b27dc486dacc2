<?php

/**
 * Base of the tests of the class Gateway: in this process, on a free port, reading the test's topics.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Gateway;

use Toporia\Realtime\Tests\Support\BrokerTestCase;

abstract class GatewayTestCase extends BrokerTestCase
{
    use RunsGateways;

    /** 32 bytes in base64, for tests only. */
    protected const MASTER_KEY = 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=';
}
