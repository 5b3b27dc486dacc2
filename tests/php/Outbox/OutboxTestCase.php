<?php

/**
 * Base of the tests of the transactional outbox: its table in a real database, relays as child processes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Outbox;

use PDO;
use Toporia\Realtime\Message;
use Toporia\Realtime\Outbox\Outbox;
use Toporia\Realtime\Outbox\Schema;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\Databases;

abstract class OutboxTestCase extends BrokerTestCase
{
    protected string $table;
    /** The connection that created the table, and will drop it. */
    protected ?PDO $made = null;
    private string $driver = 'sqlite';

    protected function setUp(): void
    {
        parent::setUp();
        $this->table = Databases::table('outbox');
    }

    protected function tearDown(): void
    {
        $this->endChildren();
        if ($this->made !== null) {
            foreach (Schema::drop($this->made, $this->table) as $statement) {
                $this->made->exec($statement);
            }
            $this->made = null;
        }
        parent::tearDown();
    }

    /**
     * Creates the table, and returns a connection to its database.
     */
    protected function database(string $driver): PDO
    {
        $this->driver = $driver;
        $this->made = Databases::connect($driver);
        foreach (Schema::create($this->made, $this->table) as $statement) {
            $this->made->exec($statement);
        }

        return Databases::connect($driver);
    }

    protected function outbox(PDO $pdo, bool $requireTransaction = true): Outbox
    {
        return new Outbox($pdo, $this->table, requireTransaction: $requireTransaction);
    }

    /**
     * Starts a relay; with --stop-when-empty it exits by itself.
     *
     * @param list<string> $arguments
     * @param array<string, string> $env
     */
    protected function relay(array $arguments = [], array $env = []): ChildProcess
    {
        return $this->startConsole(
            ['realtime:outbox:relay', "--table=$this->table", '--interval=50', '--lease=2', ...$arguments],
            ['env' => $env + ['REALTIME_OUTBOX_DSN' => Databases::dsn($this->driver)], 'cwd' => sys_get_temp_dir()]
        );
    }

    /**
     * Sends all pending rows, and returns the summary.
     *
     * @return array<string, mixed>
     */
    protected function drain(string ...$arguments): array
    {
        $result = $this->relay(['--stop-when-empty', '--json', ...array_values($arguments)])->wait();
        $result->assertExit();
        $lines = $result->lines();

        return (array) json_decode((string) end($lines), true);
    }

    /**
     * The messages of a channel, with their keys and headers.
     *
     * @return list<Message>
     */
    protected function received(string $channel, int $atLeast): array
    {
        return array_map(
            static fn (Message $record): Message => Message::fromJson((string) $record->getPayload())
                ->withKey($record->getKey())
                ->withHeaders($record->getHeaders()),
            $this->consumeAll($this->channelTopic($channel), $atLeast)
        );
    }

    /**
     * The states of the rows, by message id.
     *
     * @return array<string, string>
     */
    protected function states(PDO $pdo): array
    {
        return $pdo->query("SELECT message_id, state FROM $this->table ORDER BY id")->fetchAll(PDO::FETCH_KEY_PAIR);
    }
}
