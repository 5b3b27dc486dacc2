<?php

/**
 * An Admin for each test of a class, which also creates its topics.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Support;

use Toporia\Realtime\Admin;

trait UsesAdmin
{
    protected Admin $admin;

    protected function setUp(): void
    {
        parent::setUp();
        $this->admin = new Admin($this->config());
    }

    protected function tearDown(): void
    {
        $this->admin->close();
        parent::tearDown();
    }

    /**
     * Through Admin: Kafka's own tool takes seconds for each topic, and AdminKafkaTest compares the two.
     */
    protected function createTopic(string $topic, int $partitions = 1): string
    {
        $this->admin->createTopic($topic, $partitions);

        return $topic;
    }
}
