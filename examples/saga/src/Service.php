<?php

/**
 * One service of the saga: does its step for an event once, and says the same thing about it however often it is asked.
 */

declare(strict_types=1);

namespace Saga;

use PDO;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

/**
 * A message comes again when the service is killed before its offset was committed. Then the step must not be done
 * twice, and its answer must not be missing: so what was done and what is to be said are one transaction in the
 * service's own database, and the answer is broadcast from there. The offset is committed after Kafka has the answer.
 */
abstract class Service
{
    protected PDO $db;

    public function __construct()
    {
        $this->db = Database::of($this->name());
        $this->db->exec(
            'CREATE TABLE IF NOT EXISTS steps (order_id INTEGER, event TEXT, answer TEXT, PRIMARY KEY (order_id, event))'
        );
        $this->prepare();
    }

    /**
     * The service's name, of its database and its group.
     */
    abstract public function name(): string;

    /**
     * Creates its tables.
     */
    abstract protected function prepare(): void;

    /**
     * What it does for which event: each returns the event that says how it went, or null where nobody has to know.
     *
     * @return array<string, callable(array<string, mixed>): ?string>
     */
    abstract protected function steps(): array;

    public function handle(Message $message): void
    {
        $event = (string) $message->getEvent();
        $step = $this->steps()[$event] ?? null;
        if ($step === null) {
            return;
        }
        $order = $message->getData();
        $answer = $this->once($order, $event, $step);
        Accident::at($this->name(), 'after-commit', $order['id']);
        if ($answer !== null) {
            Realtime::broadcast('orders', $answer, $order, key: "order-{$order['id']}");
        }
        Accident::at($this->name(), 'after-broadcast', $order['id']);
    }

    /**
     * @param array<string, mixed> $order
     * @param callable(array<string, mixed>): ?string $step
     */
    private function once(array $order, string $event, callable $step): ?string
    {
        $this->db->beginTransaction();
        try {
            $done = $this->db->prepare('SELECT answer FROM steps WHERE order_id = ? AND event = ?');
            $done->execute([$order['id'], $event]);
            $answer = $done->fetch();
            if ($answer === false) {
                $answer = [$step($order)];
                $insert = $this->db->prepare('INSERT INTO steps (order_id, event, answer) VALUES (?, ?, ?)');
                $insert->execute([$order['id'], $event, $answer[0]]);
            }
            Accident::at($this->name(), 'before-commit', $order['id']);
            $this->db->commit();

            return $answer[0];
        } catch (\Throwable $e) {
            $this->db->rollBack();
            throw $e;
        }
    }
}
