<?php

/**
 * One service of the saga: runs its step once per event, and broadcasts the same result on each redelivery.
 */

declare(strict_types=1);

namespace Saga;

use PDO;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

/**
 * A message is redelivered if the service is killed before the offset is committed. Then the step must not run twice,
 * and its result event must not get lost: the step and the name of the event are stored in one transaction in the
 * service's own database, and the event is broadcast from there. The offset is committed after Kafka has acknowledged
 * the event.
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
     * The service's name; its database and its consumer group are named after it.
     */
    abstract public function name(): string;

    abstract protected function prepare(): void;

    /**
     * The step for each event; it returns the event to broadcast as the result, or null for none.
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
