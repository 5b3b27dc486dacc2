<?php

/**
 * From a transaction to Kafka, on each database: which rows are sent, when, and their state afterwards.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Outbox;

use PDO;
use PHPUnit\Framework\Attributes\DataProviderExternal;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Message;
use Toporia\Realtime\Outbox\OutboxException;
use Toporia\Realtime\Tests\Support\Databases;

final class RelayBrokerTest extends OutboxTestCase
{
    /** @dataProvider \Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testOnlyCommittedRowsAreSentWithTheirBytes(string $driver): void
    {
        $pdo = $this->database($driver);
        $outbox = $this->outbox($pdo);
        $pdo->beginTransaction();
        $outbox->add('user.1', 'order.created', ['id' => 1]);
        $pdo->rollBack();
        $pdo->beginTransaction();
        $id = $outbox->add('user.1', 'paid', ["caf\u{e9}" => "\u{1f600}"], "key \xff", ['tenant' => 'acme', 'b' => "\xfe"]);
        $other = $outbox->add('user.1', 'shipped');
        $pdo->commit();
        $summary = $this->drain();
        self::assertSame([2, 0, 0], [$summary['sent'], $summary['retries'], $summary['rows_pending']]);
        $messages = $this->received('user.1', 2);
        usort($messages, static fn (Message $a, Message $b): int => $a->getId() <=> $b->getId());
        self::assertSame([$id, $other], array_map(static fn (Message $m) => $m->getId(), $messages));
        self::assertSame(["caf\u{e9}" => "\u{1f600}"], $messages[0]->getData());
        self::assertSame("key \xff", $messages[0]->getKey());
        self::assertSame(['tenant' => 'acme', 'b' => "\xfe"], $messages[0]->getHeaders());
        self::assertSame('user.1', $messages[1]->getKey());
        self::assertSame($messages[0]->toJson(), $pdo->query("SELECT payload FROM $this->table WHERE message_id = '$id'")
            ->fetchColumn());
        self::assertSame([$id => 'sent', $other => 'sent'], $this->states($pdo));
    }

    /**
     * SQLite has one writer at a time: no transaction can commit after one that began later.
     *
     * @dataProvider \Toporia\Realtime\Tests\Support\Databases::provideServers
     */
    #[DataProviderExternal(Databases::class, 'provideServers')]
    public function testALateCommitWithALowerIdIsStillSent(string $driver): void
    {
        $first = $this->database($driver);
        $second = Databases::connect($driver);
        $first->beginTransaction();
        $late = $this->outbox($first)->add('user.1', 'late');
        $second->beginTransaction();
        $early = $this->outbox($second)->add('user.1', 'early');
        $second->commit();
        self::assertSame(1, $this->drain()['sent']);
        $first->commit();
        self::assertSame(1, $this->drain()['sent']);
        $events = array_map(static fn (Message $m) => $m->getId(), $this->received('user.1', 2));
        self::assertSame([$early, $late], $events);
        self::assertSame([$late, $early], array_keys($this->states($first)), 'the late one has the lower id');
    }

    /** @dataProvider \Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testAnUnsendableRowIsMarkedAndBlocksNothing(string $driver): void
    {
        $pdo = $this->database($driver);
        $outbox = $this->outbox($pdo, false);
        $large = $outbox->add('user.1', 'large', str_repeat('x', 2_000_000), 'k');
        $next = $outbox->add('user.1', 'next', null, 'k');
        $child = $this->relay(['--stop-when-empty'])->wait();
        $child->assertExit();
        self::assertMatchesRegularExpression("/message $large: can never be sent: /", $child->stdout);
        self::assertStringContainsString('1 failed permanently', $child->stdout);
        self::assertSame([$large => 'failed', $next => 'sent'], $this->states($pdo));
        $again = $this->relay(['--stop-when-empty'])->wait();
        self::assertStringContainsString('1 row(s) of the table have failed permanently', $again->stdout);
    }

    /** @dataProvider \Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testSentRowsAreKeptForTheRetention(string $driver): void
    {
        $pdo = $this->database($driver);
        $outbox = $this->outbox($pdo, false);
        $old = $outbox->add('user.1', 'old');
        $this->drain();
        $pdo->exec("UPDATE $this->table SET sent_at = sent_at - 61000");
        $new = $outbox->add('user.1', 'new');
        self::assertSame(1, $this->drain('--retention=60')['cleaned']);
        self::assertSame([$new => 'sent'], $this->states($pdo));
        $outbox->add('user.1', 'not kept');
        self::assertSame(1, $this->drain('--retention=0')['sent']);
        self::assertSame([], array_diff_key($this->states($pdo), [$new => 1]));
        self::assertNotSame($old, $new);
    }

    /** @dataProvider \Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testASignalStopsItCleanly(string $driver): void
    {
        $pdo = $this->database($driver);
        $child = $this->relay();
        $child->waitForOutput('/^  stop /m');
        $id = $this->outbox($pdo, false)->add('user.1', 'a');
        self::eventually(fn () => $this->states($pdo) === [$id => 'sent'], 'the row is sent');
        $start = microtime(true);
        $result = $child->signal()->wait(10);
        $result->assertExit();
        self::assertLessThan(5.0, microtime(true) - $start);
        self::assertStringContainsString('Stopped by a signal. 1 sent', $result->stdout);
    }

    public function testAnUnreachableKafkaIsWaitedFor(): void
    {
        $pdo = $this->database('sqlite');
        $outbox = $this->outbox($pdo, false);
        $broker = EmbeddedBroker::start();
        $address = $broker->address();
        $broker->stop();
        $ids = [];
        for ($i = 0; $i < 5; $i++) {
            $ids[] = $outbox->add('user.1', 'a', $i, 'k');
        }
        $env = ['KAFKA_BROKERS' => $address];
        $first = $this->relay([], $env);
        $first->waitForOutput('/waiting for Kafka: .*refused/');
        $start = microtime(true);
        $result = $first->signal()->wait(10);
        $result->assertExit();
        self::assertLessThan(5.0, microtime(true) - $start, 'SIGTERM while Kafka is away');
        self::assertStringContainsString('5 not acknowledged (they remain and are sent again)', $result->stdout);
        self::assertSame(array_fill_keys($ids, 'pending'), $this->states($pdo));
        $second = $this->relay([], $env);
        $second->waitForOutput('/waiting for Kafka: /');
        $broker = EmbeddedBroker::start((int) substr((string) strrchr($address, ':'), 1));
        $second->waitForOutput('/Kafka responds again/', 20);
        self::eventually(fn () => $this->states($pdo) === array_fill_keys($ids, 'sent'), 'all are sent');
        $second->signal()->wait(10)->assertExit();
        $broker->stop();
    }

    /** @dataProvider \Toporia\Realtime\Tests\Support\Databases::provideServers */
    #[DataProviderExternal(Databases::class, 'provideServers')]
    public function testItReconnectsToTheDatabase(string $driver): void
    {
        $pdo = $this->database($driver);
        $before = $this->outbox($pdo, false)->add('user.1', 'before');
        $child = $this->relay(['--json'], ['REALTIME_OUTBOX_DSN' => $this->markedDsn($driver, $pdo)]);
        self::eventually(fn () => $this->states($pdo) === [$before => 'sent'], 'it runs');
        // Its first round is over, and the next query is the one that waits.
        usleep(200_000);
        $this->drop($driver, $pdo);
        $child->waitForOutput('/"type":"database_back"/');
        $id = $this->outbox($pdo, false)->add('user.1', 'a');
        self::eventually(fn () => ($this->states($pdo)[$id] ?? '') === 'sent', 'it goes on');
        $child->signal()->wait(10)->assertExit();
        if ($driver === 'mysql') {
            $pdo->exec("DROP USER '$this->table'@'localhost'");
        }
    }

    /** @dataProvider \Toporia\Realtime\Tests\Support\Databases::provide */
    #[DataProviderExternal(Databases::class, 'provide')]
    public function testACommandCreatesTheTable(string $driver): void
    {
        $env = ['env' => ['REALTIME_OUTBOX_DSN' => Databases::dsn($driver), 'REALTIME_OUTBOX_TABLE' => $this->table]];
        $missing = $this->relay(['--stop-when-empty'], $env['env'])->wait();
        $missing->assertExit(1);
        self::assertStringContainsString('realtime:outbox:table', $missing->stdout);
        $print = $this->runConsole(['realtime:outbox:table', '--print'], $env);
        $print->assertExit();
        self::assertStringContainsString('CREATE TABLE IF NOT EXISTS', $print->stdout);
        $this->runConsole(['realtime:outbox:table'], $env)->assertExit();
        $this->runConsole(['realtime:outbox:table'], $env)->assertExit();
        $pdo = $this->database($driver);
        $this->outbox($pdo, false)->add('user.1', 'a');
        self::assertSame(1, $this->drain()['sent']);
        $this->expectException(OutboxException::class);
        $this->expectExceptionMessage('no transaction is open');
        $this->outbox($pdo)->add('user.1', 'a');
    }

    public function testWrongUsageIsExitCode2(): void
    {
        $this->database('sqlite');
        $this->relay(['--batch-size=2000'])->wait()->assertExit(2);
        $this->relay(['--lock=advisory', '--stop-when-empty'])->wait()->assertExit(2);
        $this->relay([], ['REALTIME_OUTBOX_DSN' => ''])->wait()->assertExit(2);
    }

    /** A DSN that identifies its connections among those of other tests, which share the server. */
    private function markedDsn(string $driver, PDO $pdo): string
    {
        $dsn = Databases::dsn($driver);
        if ($driver === 'pgsql') {
            return "$dsn;application_name=$this->table";
        }
        $pdo->exec("CREATE USER '$this->table'@'localhost'");
        $pdo->exec("GRANT ALL ON *.* TO '$this->table'@'localhost'");

        return str_replace('user=root', "user=$this->table", $dsn);
    }

    /** Terminates the relay's connections. */
    private function drop(string $driver, PDO $pdo): void
    {
        if ($driver === 'pgsql') {
            $killed = $pdo->query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity '
                . "WHERE application_name = '$this->table'")->fetchAll();
            self::assertNotSame([], $killed);

            return;
        }
        $all = $pdo->query("SELECT id FROM information_schema.processlist WHERE user = '$this->table'");
        $all = $all->fetchAll(PDO::FETCH_COLUMN);
        self::assertNotSame([], $all);
        foreach ($all as $id) {
            $pdo->exec("KILL $id");
        }
    }
}
