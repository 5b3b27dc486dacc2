<?php

/**
 * Base of the Admin tests: an Admin for each test, and a topic with known records.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Admin;

use Throwable;
use Toporia\Realtime\Message;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\UsesAdmin;

abstract class AdminTestCase extends BrokerTestCase
{
    use UsesAdmin;

    /**
     * Fills a topic: each of the first partitions holds '<partition>-0', '<partition>-1' and so on.
     *
     * @param list<int> $counts how many records each partition gets
     */
    protected function filled(array $counts, string $name = 'filled'): string
    {
        $topic = $this->createTopic($this->topic($name), count($counts));
        $this->fill($topic, $counts);

        return $topic;
    }

    /** @param list<int> $counts */
    protected function fill(string $topic, array $counts): void
    {
        $broker = $this->broker();
        foreach ($counts as $partition => $count) {
            for ($i = 0; $i < $count; $i++) {
                $broker->send($topic, "$partition-$i", "key $i", ['n' => (string) $i], $partition);
            }
        }
        $broker->close();
    }

    /**
     * The records that read() delivers, by partition.
     *
     * @param array<int, int> $from
     *
     * @return array<int, list<string|null>>
     */
    protected function readAll(string $topic, array $from = []): array
    {
        $all = [];
        $count = $this->admin->read($topic, static function (Message $message) use (&$all): void {
            $all[$message->getPartition()][] = $message->getPayload();
        }, $from);
        ksort($all);
        self::assertSame($count, array_sum(array_map('count', $all)));

        return $all;
    }

    /**
     * @template T of Throwable
     *
     * @param class-string<T> $class
     *
     * @return T
     */
    protected static function thrown(string $class, callable $by): Throwable
    {
        try {
            $by();
        } catch (Throwable $e) {
            self::assertInstanceOf($class, $e, $e->getMessage());

            return $e;
        }
        self::fail("Nothing was thrown, $class expected");
    }
}
