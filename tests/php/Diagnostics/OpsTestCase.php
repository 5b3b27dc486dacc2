<?php

/**
 * Base of the tests of realtime:lag and realtime:topics on a broker: records, groups, and the commands in this process.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use Symfony\Component\Console\Tester\CommandTester;
use Toporia\Realtime\Console\Application;
use Toporia\Realtime\Console\PlainHost;
use Toporia\Realtime\Tests\Console\ConsoleTestCase;
use Toporia\Realtime\Tests\Support\UsesAdmin;

abstract class OpsTestCase extends ConsoleTestCase
{
    use UsesAdmin;

    /** The output of the last command(). */
    protected string $output = '';

    /**
     * @param list<int> $counts records that each of the first partitions gets
     */
    protected function fill(string $topic, array $counts): string
    {
        $this->createTopic($topic, count($counts));
        $broker = $this->broker();
        foreach ($counts as $partition => $count) {
            for ($i = 0; $i < $count; $i++) {
                $broker->send($topic, "$partition-$i", null, [], $partition);
            }
        }
        $broker->close();

        return $topic;
    }

    /**
     * Lets a group consume this many records of a topic, and commit them.
     */
    protected function consumeSome(string $group, string $topic, int $count): void
    {
        $broker = $this->broker(['consumer_group' => $group]);
        $broker->subscribeTopic($topic, static fn () => null);
        $broker->consume(200, 1, $count);
        $broker->close();
    }

    /**
     * Runs a command in this process; its output is in `output`.
     *
     * @param array<string, mixed> $input
     * @param array<string, mixed> $config over config(), of the broker `kafka`
     */
    protected function command(string $name, array $input = [], array $config = []): int
    {
        $brokers = ['kafka' => $this->config($config)];
        $host = new PlainHost(['default_broker' => 'kafka', 'brokers' => $brokers], $this->app);
        $tester = new CommandTester((new Application($host))->find($name));
        $code = $tester->execute($input, ['interactive' => false]);
        $this->output = $tester->getDisplay(true);

        return $code;
    }

    /**
     * The same with --json, decoded; checks the exit code.
     *
     * @param array<string, mixed> $input
     * @param array<string, mixed> $config
     *
     * @return array<string, mixed>
     */
    protected function json(string $name, array $input = [], int $code = 0, array $config = []): array
    {
        self::assertSame($code, $this->command($name, $input + ['--json' => true], $config), $this->output);

        return (array) json_decode($this->output, true, 64, JSON_THROW_ON_ERROR);
    }
}
