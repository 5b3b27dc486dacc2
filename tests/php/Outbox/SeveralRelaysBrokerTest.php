<?php

/**
 * Several relays on one outbox while the application writes, and one is killed: no message missing, order per key.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Outbox;

use PHPUnit\Framework\Attributes\DataProviderExternal;
use Toporia\Realtime\Tests\Support\Databases;

final class SeveralRelaysBrokerTest extends OutboxTestCase
{
    private const ROWS = 3000;
    private const KEYS = 20;

    /** @dataProvider \Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testOneOfThreeRelaysIsKilled(string $driver): void
    {
        $this->createTopic($this->channelTopic('user.1'), 4);
        $pdo = $this->database($driver);
        $outbox = $this->outbox($pdo);
        $relays = [];
        for ($i = 0; $i < 3; $i++) {
            $relays[] = $this->relay(['--batch-size=20']);
        }
        foreach ($relays as $relay) {
            $relay->waitForOutput('/^  stop /m');
        }
        $sent = [];
        for ($i = 0; $i < self::ROWS; $i += 50) {
            $pdo->beginTransaction();
            for ($n = $i; $n < $i + 50; $n++) {
                $sent[$outbox->add('user.1', 'e', $n, 'key-' . ($n % self::KEYS))] = $n;
            }
            $pdo->commit();
            if ($i === 1000) {
                $relays[0]->signal(9)->wait(5);
            }
        }
        self::eventually(fn () => $this->waiting($pdo) === 0, 'all is sent', 30);
        foreach ([$relays[1], $relays[2]] as $relay) {
            $relay->signal()->wait(10)->assertExit();
        }
        $first = [];
        $order = [];
        foreach ($this->received('user.1', self::ROWS) as $message) {
            if (!isset($first[$message->getId()])) {
                $first[$message->getId()] = $message->getData();
                $order[(string) $message->getKey()][] = $message->getData();
            }
        }
        self::assertCount(self::ROWS, $first, 'nothing is missing, and what came twice has the same id');
        self::assertSame([], array_diff_assoc($first, $sent));
        self::assertCount(self::KEYS, $order);
        foreach ($order as $key => $numbers) {
            $sorted = $numbers;
            sort($sorted);
            self::assertSame($sorted, $numbers, "the order of $key");
        }
    }

    private function waiting(\PDO $pdo): int
    {
        return (int) $pdo->query("SELECT COUNT(*) FROM $this->table WHERE state <> 'sent'")->fetchColumn();
    }
}
