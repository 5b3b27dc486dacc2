<?php

/**
 * Base of the tests of retries, dead letters and delivery modes: records named by key and number, a callback that
 * fails.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use Closure;
use DomainException;
use Throwable;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Consuming\ConsumingTestCase;

abstract class DeliveryTestCase extends ConsumingTestCase
{
    /** A record that fails at every attempt. */
    protected const ALWAYS = PHP_INT_MAX;

    /** @var list<string> every call of a callback of handler(), as "A1#2": the record A1, its second attempt */
    protected array $tries = [];
    /** @var list<string> the records whose callback returned */
    protected array $done = [];

    /**
     * Retries follow each other quickly unless a test measures the delay.
     *
     * @param array<string, mixed> $config
     *
     * @return array<string, mixed>
     */
    protected function config(array $config = []): array
    {
        return parent::config($config + ['retry_backoff_ms' => 20, 'retry_backoff_max_ms' => 100]);
    }

    /**
     * Sends records to one partition of topic(), and waits for the acknowledgements: "A1" has the key A, "-1" has no
     * key.
     *
     * @param list<string> $records
     */
    protected function produce(array $records, int $partition = 0, ?string $topic = null): void
    {
        $broker = Realtime::broker();
        foreach ($records as $record) {
            $key = $record[0] === '-' ? null : $record[0];
            $broker->send($topic ?? $this->topic(), $record, $key, [], $partition);
        }
        Realtime::flush();
    }

    /**
     * A broker whose callback fails as configured; subscribed to topic().
     *
     * @param array<string, int>|callable(Message): ?Throwable $failing see handler()
     * @param array<string, mixed> $config
     */
    protected function consumer(array|callable $failing = [], array $config = []): Broker
    {
        return $this->broker($config)->subscribeTopic($this->topic(), $this->handler($failing));
    }

    /**
     * A callback that records its messages in `tries` and `done`, and fails.
     *
     * @param array<string, int>|callable(Message): ?Throwable $failing record => how many of its tries fail; or what
     *        decides about the exception
     *
     * @return Closure(Message): void
     */
    protected function handler(array|callable $failing): Closure
    {
        return function (Message $message) use ($failing): void {
            $record = (string) $message->getPayload();
            $this->tries[] = "$record#{$message->getAttempt()}";
            $why = is_callable($failing)
                ? $failing($message)
                : ($message->getAttempt() <= ($failing[$record] ?? 0) ? new DomainException("no $record") : null);
            if ($why !== null) {
                throw $why;
            }
            $this->done[] = $record;
        };
    }

    /**
     * The attempts of one record or key, in order.
     *
     * @return list<string>
     */
    protected function triesOf(string $start): array
    {
        return array_values(array_filter($this->tries, static fn (string $try) => str_starts_with($try, $start)));
    }

    /**
     * The dead letters of a topic, topic() by default.
     *
     * @return list<Message>
     */
    protected function letters(int $atLeast = 0, ?string $topic = null): array
    {
        return $this->consumeAll('dlq.' . ($topic ?? $this->topic()), $atLeast);
    }

    /**
     * The values of the dead letters of topic().
     *
     * @return list<string|null>
     */
    protected function letterValues(int $atLeast = 0): array
    {
        return array_map(static fn (Message $letter) => $letter->getPayload(), $this->letters($atLeast));
    }

    /**
     * The values in topic() that the group has not committed, handled and committed by a new member.
     *
     * @return list<string|null>
     */
    protected function left(?string $group = null): array
    {
        $values = [];
        $broker = $this->broker(['consumer_group' => $group ?? $this->group]);
        $broker->subscribeTopic($this->topic(), static function (Message $message) use (&$values): void {
            $values[] = $message->getPayload();
        });
        $this->drain($broker);
        $broker->close();

        return $values;
    }

    /**
     * Runs until every record is handled, and returns the exception of consume().
     */
    protected function drainThrows(Broker $broker): Throwable
    {
        try {
            $this->drain($broker);
        } catch (Throwable $e) {
            return $e;
        }
        self::fail('consume() threw nothing.');
    }

    /** Stops the broker's consume() once the condition holds; fails the test if it does not hold in time. */
    protected static function stopWhen(Broker $broker, callable $condition, float $seconds = 15.0): Broker
    {
        $deadline = microtime(true) + $seconds;

        return $broker->onTick(static function (Broker $broker) use ($condition, $deadline): void {
            if ($condition()) {
                $broker->stopConsuming();
            } elseif (microtime(true) > $deadline) {
                self::fail('What should end consume() did not come.');
            }
        }, 20);
    }

    /**
     * A script for startPhp(): appends every call to notes() as "A1#2", then runs `$code`, then appends "A1 done".
     *
     * @param string $code sees $message, $record, $attempt and $broker
     * @param string $config of the broker, PHP source of an array
     * @param string $consume arguments of consume()
     */
    protected function script(string $code, string $config = '[]', string $consume = ''): string
    {
        $topic = var_export($this->topic(), true);

        return <<<PHP
            \$notes = fopen(getenv('TEST_NOTES'), 'a');
            \$broker = new Broker($config);
            \$broker->subscribeTopic($topic, function (Message \$message) use (\$notes, &\$broker) {
                [\$record, \$attempt] = [\$message->getPayload(), \$message->getAttempt()];
                fwrite(\$notes, "\$record#\$attempt\\n");
                $code
                fwrite(\$notes, "\$record done\\n");
            });
            \$handled = \$broker->consume($consume);
            echo "returned \$handled ", \$broker->stats()['stop_reason'], "\\n";
            PHP;
    }
}
