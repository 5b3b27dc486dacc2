<?php

/**
 * The scripts of examples/ work as their first lines describe.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Examples;

use Toporia\Realtime\Tests\Support\BrokerTestCase;

final class ScriptsBrokerTest extends BrokerTestCase
{
    public function testTheProducerDeliversAndTheWorkerRepliesToEachOrder(): void
    {
        $this->produce(6);
        // Six orders, and the six answers that the worker broadcasts to the same channels.
        $worker = $this->startScript(self::example('worker'), ['args' => ['12']])->wait(30.0)->assertExit();
        self::assertSame(6, substr_count($worker->stdout, ': order '), $worker->describe());
        self::assertStringContainsString('stopped by max_messages', $worker->stdout);

        $paid = [];
        foreach ([1, 2, 3] as $user) {
            foreach ($this->consumeAll($this->channelTopic("user.$user"), 4) as $record) {
                $envelope = json_decode((string) $record->getPayload(), true);
                if ($envelope['event'] === 'order.paid') {
                    self::assertSame("user.$user", $envelope['channel']);
                    $paid[] = $envelope['data']['id'];
                }
            }
        }
        sort($paid);
        self::assertSame([1, 2, 3, 4, 5, 6], $paid);
    }

    public function testTheWorkerStopsCleanlyOnSigterm(): void
    {
        $this->produce(3);
        $worker = $this->startScript(self::example('worker'));
        $worker->waitForOutput('/order 3 /');
        $worker->signal()->wait()->assertExit();
        self::assertStringContainsString('stopped by signal', $worker->stdout());
    }

    public function testThePollWorkerRetriesAndGivesUpPermanentFailures(): void
    {
        $this->produce(6);
        $worker = $this->startScript(self::example('poll-worker'), ['args' => ['6']])->wait(30.0)->assertExit();
        $lines = $worker->lines();
        sort($lines);
        self::assertSame([
            'order 1: charged, attempt 1',
            'order 2: charged, attempt 1',
            'order 3: The payment service answered 503.',
            'order 3: charged, attempt 2',
            'order 4: charged, attempt 1',
            'order 5: given up: Order 5 has no customer.',
            'order 6: The payment service answered 503.',
            'order 6: charged, attempt 2',
        ], $lines, $worker->describe());

        $dead = $this->consumeAll('dlq.' . $this->channelTopic('user.3'), 1);
        self::assertCount(1, $dead);
        self::assertSame('Order 5 has no customer.', $dead[0]->getHeaders()['x-exception-message']);
    }

    public function testThePollWorkerStopsCleanlyOnSigterm(): void
    {
        $this->produce(1);
        $worker = $this->startScript(self::example('poll-worker'));
        $worker->waitForOutput('/order 1: charged/');
        $worker->signal()->wait()->assertExit();
    }

    private function produce(int $count): void
    {
        $producer = $this->startScript(self::example('producer'), ['args' => [(string) $count]])->wait()->assertExit();
        self::assertStringContainsString("$count delivered", $producer->stdout);
    }

    private static function example(string $name): string
    {
        return self::root() . "/examples/$name.php";
    }
}
