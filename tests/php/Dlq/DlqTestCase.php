<?php

/**
 * Base of the tests of dead letters on a broker: groups that fail, and the commands run in this process or as
 * processes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use DomainException;
use Symfony\Component\Console\Tester\CommandTester;
use Throwable;
use Toporia\Realtime\Console\Application;
use Toporia\Realtime\Console\PlainHost;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Console\ConsoleTestCase;

abstract class DlqTestCase extends ConsoleTestCase
{
    /** The output of the last command(). */
    protected string $output = '';
    private string $errorLog = '';

    protected function setUp(): void
    {
        parent::setUp();
        // Failures are logged to the error log, which these tests do not check.
        $this->errorLog = (string) ini_set('error_log', '/dev/null');
        $this->configure("['dlq_prefix' => '{$this->dlqPrefix()}']");
    }

    protected function tearDown(): void
    {
        ini_set('error_log', $this->errorLog);
        parent::tearDown();
    }

    /**
     * A failing record is dead-lettered after one attempt; no test sees another's dead letters.
     *
     * @param array<string, mixed> $config
     *
     * @return array<string, mixed>
     */
    protected function config(array $config = []): array
    {
        $config['consumer_config'] = ($config['consumer_config'] ?? [])
            + ['session.timeout.ms' => 1250, 'heartbeat.interval.ms' => 200, 'fetch.wait.max.ms' => 10];

        return parent::config($config + ['max_retries' => 0, 'dlq_prefix' => $this->dlqPrefix()]);
    }

    protected function dlqPrefix(): string
    {
        return "{$this->prefix}dead";
    }

    protected function dead(string $topic): string
    {
        return $this->dlqPrefix() . '.' . $topic;
    }

    /**
     * Sends records to a raw topic, and waits for the acknowledgements.
     *
     * @param list<string|null> $records
     * @param array<string, string|null> $headers
     */
    protected function send(string $topic, array $records, ?string $key = 'k', array $headers = []): void
    {
        $broker = Realtime::broker('kafka');
        foreach ($records as $record) {
            $broker->send($topic, $record, $key, $headers);
        }
        Realtime::flush();
    }

    /**
     * Lets a group consume a topic to its end, failing on some records; returns the delivered messages.
     *
     * @param callable(Message): ?Throwable $why null: handled
     *
     * @return list<Message>
     */
    protected function consumeAs(string $group, string $topic, ?callable $why = null): array
    {
        $seen = [];
        $broker = $this->broker(['consumer_group' => "$this->group-$group"]);
        $broker->subscribeTopic($topic, static function (Message $message) use (&$seen, $why): void {
            $seen[] = $message;
            $error = $why === null ? null : $why($message);
            if ($error !== null) {
                throw $error;
            }
        });
        $broker->consume(200, 1000, 0, true);
        $broker->close();

        return $seen;
    }

    /**
     * A callback for consumeAs() that fails on every message.
     *
     * @return callable(Message): Throwable
     */
    protected static function always(string $message = 'no such order'): callable
    {
        return static fn (): Throwable => new DomainException($message);
    }

    /**
     * Runs `realtime:dlq:<name>` in this process; its output is in `output`.
     *
     * @param array<string, mixed> $input
     * @param list<string> $answers typed on a terminal; none: there is none
     */
    protected function command(string $name, array $input = [], array $answers = []): int
    {
        $host = new PlainHost(['default_broker' => 'kafka', 'brokers' => ['kafka' => $this->config()]], $this->app);
        $tester = new CommandTester((new Application($host))->find("realtime:dlq:$name"));
        $tester->setInputs($answers);
        $code = $tester->execute($input, ['interactive' => $answers !== []]);
        $this->output = $tester->getDisplay(true);

        return $code;
    }

    /**
     * The entries of `realtime:dlq:list --json`, newest first.
     *
     * @param array<string, mixed> $input
     *
     * @return list<array<string, mixed>>
     */
    protected function listed(array $input = []): array
    {
        self::assertSame(0, $this->command('list', $input + ['--json' => true, '--limit' => '0']), $this->output);
        preg_match_all('/^\{.*\}$/m', $this->output, $lines);

        return array_map(static fn (string $line): array => (array) json_decode($line, true), $lines[0]);
    }

    /**
     * Replays every dead letter that was not replayed yet.
     *
     * @return array<string, mixed> its result
     */
    protected function replayAll(int $code = 0): array
    {
        $input = ['--all' => true, '--yes' => true, '--json' => true];
        self::assertSame($code, $this->command('replay', $input), $this->output);

        self::assertSame(1, preg_match('/^\{.*\}$/m', $this->output, $json), $this->output);

        return (array) json_decode($json[0], true);
    }
}
