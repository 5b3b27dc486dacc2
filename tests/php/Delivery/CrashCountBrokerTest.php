<?php

/**
 * A callback that ends its process by exit or a fatal error: after a limit of restarts the record is dead-lettered.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Support\ProcessResult;

final class CrashCountBrokerTest extends DeliveryTestCase
{
    /** The consume() call of the scripts: the last run ends by itself. */
    private const TO_THE_END = 'stopWhenEmpty: true';

    /** @dataProvider crashes */
    #[DataProvider('crashes')]
    public function testAfterTheLastCrashItIsADeadLetter(string $death, int $code, string $stderr): void
    {
        $this->produce(['A1', 'B1', 'C1', 'D1']);
        $runs = $this->workers("if (\$record === 'B1') { $death }", ['max_retries' => 1]);
        self::assertSame(['A1#1', 'B1#1', 'B1#2', 'C1#1', 'D1#1'], $this->triesNoted(), 'each death is one try');
        self::assertCount(3, $runs);
        foreach ([0, 1] as $run) {
            $runs[$run]->assertExit($code);
            self::assertStringContainsString($stderr, $runs[$run]->stderr);
            self::assertLessThan(15.0, $runs[$run]->seconds);
        }
        $runs[2]->assertExit();
        self::assertSame("returned 2 empty\n", $runs[2]->stdout, 'the last death has written the dead letter');
        $letters = $this->letters(1);
        self::assertCount(1, $letters);
        self::assertSame('B1', $letters[0]->getPayload());
        self::assertSame('B', $letters[0]->getKey());
        $headers = $letters[0]->getHeaders();
        self::assertSame(['FatalError', '2', $this->topic(), '0', '1', $this->group, '0'], [
            $headers['x-exception-class'], $headers['x-attempts'], $headers['x-original-topic'],
            $headers['x-original-partition'], $headers['x-original-offset'], $headers['x-original-group'],
            $headers['x-replays'],
        ]);
        self::assertNotSame('', $headers['x-exception-message']);
        self::assertSame([], $this->left());
    }

    /** @return array<string, array{string, int, string}> */
    public static function crashes(): array
    {
        return [
            'exit' => ['exit(3);', 3, ''],
            'the memory limit' => ['$text = str_repeat("x", 64 << 20);', 255, 'Allowed memory size'],
            'endless recursion' => ['$f = function ($f) { $f($f); }; $f($f);', 255, 'Allowed memory size'],
            'a fatal error' => ['eval("class T {}"); eval("class T {}");', 255, 'declare class T'],
            'the time limit' => ['set_time_limit(1); while (true) {}', 255, 'Maximum execution time'],
        ];
    }

    public function testByDefaultItIsAttemptedFourTimes(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $runs = $this->workers('if ($record === "B1") { exit; }');
        self::assertSame(['A1#1', 'B1#1', 'B1#2', 'B1#3', 'B1#4', 'C1#1'], $this->triesNoted());
        self::assertCount(5, $runs);
        [$letter] = $this->letters(1);
        self::assertSame('4', $letter->getHeaders()['x-attempts']);
        self::assertSame('FatalError', $letter->getHeaders()['x-exception-class']);
    }

    public function testASuccessResetsTheCrashCount(): void
    {
        $this->produce(['A1', 'B1']);
        $this->workers('if ($attempt < 3) { exit; }', ['max_retries' => 2]);
        self::assertSame(['A1#1', 'A1#2', 'A1#3', 'B1#1', 'B1#2', 'B1#3'], $this->triesNoted());
        self::assertSame([], $this->letters());
        self::assertSame([], $this->left());
    }

    public function testCrashesAndExceptionsAreCountedTogether(): void
    {
        $this->produce(['A1', 'B1']);
        $runs = $this->workers(
            'if ($record === "A1") { if ($attempt % 2 === 1) { throw new DomainException("no"); } exit; }'
        );
        $tries = array_values(preg_grep('/^A/', $this->triesNoted()) ?: []);
        self::assertSame(['A1#1', 'A1#2', 'A1#3', 'A1#4'], $tries);
        self::assertLessThanOrEqual(3, count($runs));
        self::assertSame('4', $this->letters(1)[0]->getHeaders()['x-attempts']);
    }

    public function testWhileAnEarlierRecordWaitsForItsRetry(): void
    {
        $this->produce(['A1', 'B1', 'C1', 'D1']);
        // The committed offset points at A1; C1 ends the process.
        $this->workers(
            'if ($record === "A1" && !is_file(getenv("TEST_NOTES") . ".C1")) { throw new DomainException("no"); }'
            . 'if ($record === "C1") { $attempt === 2 and touch(getenv("TEST_NOTES") . ".C1"); exit; }',
            ['max_retries' => 1, 'retry_backoff_ms' => 5000, 'retry_backoff_max_ms' => 5000]
        );
        unlink($this->notes() . '.C1');
        $tries = $this->triesNoted();
        self::assertSame(['C1#1', 'C1#2'], array_values(preg_grep('/^C/', $tries) ?: []), implode(' ', $tries));
        // The offset stays at A1, so the dead letter behind it may be written again, with the same coordinates.
        $letters = array_unique(array_map(static fn (Message $letter) => [
            $letter->getPayload(), $letter->getHeaders()['x-exception-class'],
            $letter->getHeaders()['x-original-offset'],
        ], $this->letters(1)), SORT_REGULAR);
        self::assertSame([['C1', 'FatalError', '2']], $letters);
        self::assertSame([], $this->left());
    }

    public function testEachPartitionKeepsItsOwnCount(): void
    {
        $this->produce(['A1', 'A2']);
        $this->produce(['B1', 'B2'], 1);
        $this->workers('if ($record === "A2" || $record === "B2") { exit; }', ['max_retries' => 1]);
        $tries = $this->triesNoted();
        self::assertSame(['A2#1', 'A2#2'], array_values(preg_grep('/^A2/', $tries) ?: []), implode(' ', $tries));
        self::assertSame(['B2#1', 'B2#2'], array_values(preg_grep('/^B2/', $tries) ?: []), implode(' ', $tries));
        self::assertEqualsCanonicalizing(['A2', 'B2'], $this->letterValues(2));
        self::assertSame([], $this->left());
    }

    public function testInABatchOnlyTheCrashingRecordIsDeadLettered(): void
    {
        $channel = $this->channelTopic('user.1');
        foreach (range(1, 5) as $data) {
            Realtime::broker()->send($channel, Message::event('user.1', 'e', $data)->toJson(), "k$data", [], 0);
        }
        Realtime::flush();
        $script = <<<'PHP'
            $notes = fopen(getenv('TEST_NOTES'), 'a');
            $broker = new Broker(['max_retries' => 1]);
            $broker->subscribeBatch('user.1', function (array $messages) use ($notes) {
                foreach ($messages as $message) {
                    if ($message->getData() === 3) {
                        exit;
                    }
                }
                foreach ($messages as $message) {
                    fwrite($notes, $message->getData() . " done\n");
                }
            });
            $handled = $broker->consume(stopWhenEmpty: true);
            echo "returned $handled\n";
            PHP;
        for ($run = 0; $run < 12; $run++) {
            $result = $this->runPhp($script, ['timeout' => 10.0])->assertExit();
            if ($result->stdout !== '') {
                break;
            }
        }
        self::assertStringStartsWith('returned', $result->stdout, 'it comes past it');
        self::assertEqualsCanonicalizing(['1 done', '2 done', '4 done', '5 done'], array_unique($this->noted()));
        $data = array_map(
            static fn (Message $letter) => json_decode((string) $letter->getPayload(), true)['data'],
            $this->letters(1, $channel)
        );
        self::assertSame([3], $data);
    }

    public function testACrashOutsideOfCallbacksIsNotCounted(): void
    {
        $this->produce(['A1', 'B1']);
        $script = $this->script('', '["max_retries" => 0]', 'maxMessages: 1');
        for ($run = 0; $run < 2; $run++) {
            $this->runPhp("$script exit(9);", ['timeout' => 10.0])->assertExit(9);
        }
        self::assertSame(['A1#1', 'B1#1'], $this->triesNoted());
        self::assertSame([], $this->letters());
    }

    public function testASigkillIsNotCounted(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $code = 'if ($record === "B1") { posix_kill(getmypid(), SIGKILL); }';
        for ($run = 0; $run < 3; $run++) {
            $result = $this->runPhp($this->script($code, '["max_retries" => 0]'), ['timeout' => 10.0]);
            self::assertSame(SIGKILL, $result->signal, $result->describe());
        }
        self::assertSame(['B1#1', 'B1#1', 'B1#1'], array_values(preg_grep('/^B1#/', $this->noted()) ?: []));
        self::assertSame([], $this->letters(), 'nobody was there to write it down');
        $left = $this->left();
        self::assertSame(['B1', 'C1'], array_slice($left, -2), 'and nothing is lost');
    }

    public function testWithDeadLettersOffItIsNeverSkipped(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $this->workers('if ($record === "B1") { exit; }', ['max_retries' => 1, 'dlq' => false], 4);

        self::assertCount(4, preg_grep('/^B1#/', $this->noted()) ?: []);
        self::assertSame([], $this->letters());
        self::assertSame([0 => 1], $this->committed($this->topic()));
    }

    public function testMetadataOfACommitDoesNotAffectOtherClients(): void
    {
        $this->produce(['A1', 'B1']);
        $this->runPhp($this->script('if ($record === "B1") { exit; }'), ['timeout' => 10.0])->assertExit();
        $broker = $this->consumer();
        self::assertSame(1, $this->drain($broker));
        self::assertSame(['B1#2'], $this->tries, 'another process knows');
        self::assertFalse($broker->stats()['member_hash_conflict'], 'the subscriptions are the same');
        self::assertStringNotContainsString('subscribe different channels', $this->logged());
    }

    /**
     * Restarts the worker like a supervisor until it ends by itself.
     *
     * @param array<string, mixed> $config
     *
     * @return list<ProcessResult>
     */
    private function workers(string $code, array $config = [], int $atMost = 7): array
    {
        $script = $this->script($code, var_export($config, true), self::TO_THE_END);
        $runs = [];
        do {
            $runs[] = $result = $this->runPhp($script, ['timeout' => 12.0, 'ini' => ['memory_limit' => '32M']]);
            self::assertFalse($result->timedOut, $result->describe());
        } while (!str_contains($result->stdout, 'returned') && count($runs) < $atMost);

        return $runs;
    }

    /** @return list<string> */
    private function triesNoted(): array
    {
        return array_values(preg_grep('/#/', $this->noted()) ?: []);
    }
}
