<?php

/**
 * Base of the consuming tests: acknowledged records, committed offsets of the group, captured log lines.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use PHPUnit\Framework\Attributes\After;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;

abstract class ConsumingTestCase extends BrokerTestCase
{
    /**
     * Settings with which an exception in a callback ends consume() immediately, with that exception; the offset stays.
     */
    protected const AT_ONCE = ['dlq' => false, 'max_retries' => 0];

    /**
     * A killed member holds its partitions this long instead of the default of 45 s; the embedded broker lets members
     * join a group that had members before after this minus one second.
     */
    protected int $sessionMs = 1250;

    private string $logFile;
    private string $logBefore;

    protected function setUp(): void
    {
        parent::setUp();
        $this->logFile = (string) tempnam(sys_get_temp_dir(), 'realtime-log-');
        $this->logBefore = (string) ini_set('error_log', $this->logFile);
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        ini_set('error_log', $this->logBefore);
        unlink($this->logFile);
    }

    /**
     * @param array<string, mixed> $config
     *
     * @return array<string, mixed>
     */
    protected function config(array $config = []): array
    {
        $config['consumer_config'] = ($config['consumer_config'] ?? []) + [
            'session.timeout.ms' => $this->sessionMs,
            'heartbeat.interval.ms' => 200,
            // The end of a partition is reported only after this wait.
            'fetch.wait.max.ms' => 10,
        ];

        return parent::config($config);
    }

    /**
     * A broker whose consume() ends after 40 s at the latest, unless the test sets its own tick.
     *
     * @param array<string, mixed> $config over config()
     */
    protected function broker(array $config = []): Broker
    {
        return self::within(40.0, parent::broker($config));
    }

    /**
     * Starts a snippet with the configuration of this test's brokers.
     *
     * @param array<string, mixed> $options
     */
    protected function startPhp(string $code, array $options = []): ChildProcess
    {
        $config = var_export(['default_broker' => 'kafka', 'brokers' => ['kafka' => $this->config()]], true);

        return parent::startPhp("Realtime::configure($config);\n$code", $options);
    }

    /**
     * The lines that the extension wrote to PHP's error log in this test.
     */
    protected function logged(): string
    {
        return (string) file_get_contents($this->logFile);
    }

    /**
     * Publishes one event per entry, and waits until Kafka has acknowledged all.
     *
     * @param iterable<mixed> $data
     */
    protected function publish(string $channel, iterable $data, string $event = 'happened'): void
    {
        $broker = $this->broker();
        foreach ($data as $one) {
            $broker->publish($channel, Message::event($channel, $event, $one));
        }
        Realtime::flush();
    }

    /**
     * Sends raw records, and waits until Kafka has acknowledged all.
     *
     * @param iterable<mixed> $values
     * @param int|null $partition null: by turns to four, which is how many a topic made by its first record has
     */
    protected function send(string $topic, iterable $values, ?int $partition = 0): void
    {
        $broker = $this->broker();
        $turn = 0;
        foreach ($values as $value) {
            $broker->send($topic, $value, null, [], $partition ?? $turn++ % 4);
        }
        Realtime::flush();
    }

    /**
     * Runs the broker's callbacks until every available record is handled; returns the number of handled records.
     */
    protected function drain(Broker $broker): int
    {
        return $broker->consume(stopWhenEmpty: true);
    }

    /**
     * The data of every record that the group has not committed, handled and committed by a new member.
     *
     * @return list<mixed>
     */
    protected function rest(string $channel, ?string $group = null): array
    {
        $data = [];
        $broker = $this->broker(['consumer_group' => $group ?? $this->group]);
        $broker->subscribe($channel, static function (Message $message) use (&$data): void {
            $data[] = $message->getData();
        });
        $this->drain($broker);
        $broker->close();

        return $data;
    }

    /**
     * The offsets that the group has committed for a topic: partition => next offset, without partitions that have no
     * commit. No other member may be in the group.
     *
     * @return array<int, int>
     */
    protected function committed(string $topic, ?string $group = null): array
    {
        $offsets = [];
        $broker = $this->broker(['consumer_group' => $group ?? $this->group]);
        $broker->subscribeTopic($topic, static fn () => null);
        $broker->onAssigned(static function () use ($broker, &$offsets): void {
            foreach ($broker->stats()['assigned'] as $assigned) {
                if ($assigned['position'] >= 0) {
                    $offsets[$assigned['partition']] = $assigned['position'];
                }
            }
            $broker->stopConsuming();
        });
        self::within(15.0, $broker)->consume(100);
        $broker->close();
        ksort($offsets);

        return $offsets;
    }

    /**
     * Ends the broker's consume() after this many seconds, so that no test waits forever.
     */
    protected static function within(float $seconds, Broker $broker): Broker
    {
        $deadline = microtime(true) + $seconds;

        return $broker->onTick(static function (Broker $broker) use ($deadline): void {
            if (microtime(true) > $deadline) {
                $broker->stopConsuming();
            }
        }, 50);
    }

    /**
     * A file to which child processes append lines: it survives a SIGKILL.
     */
    protected function notes(): string
    {
        return "$this->logFile.notes";
    }

    /** @return list<string> */
    protected function noted(): array
    {
        return is_file($this->notes()) ? (array) file($this->notes(), FILE_IGNORE_NEW_LINES) : [];
    }

    /** @return array<string, string|null> */
    protected function childEnvironment(): array
    {
        return ['TEST_NOTES' => $this->notes()] + parent::childEnvironment();
    }

    /** @after */
    #[After]
    protected function removeNotes(): void
    {
        if (is_file($this->notes())) {
            unlink($this->notes());
        }
    }
}
