<?php

/**
 * Exactly-once when a broker receives a request after the client has given up its connection: nothing of it may reach
 * the next transaction.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Message;

final class LateRequestsKafkaTest extends DeliveryTestCase
{
    private const FIRST = 'of an aborted transaction';
    private const SECOND = 'of the next transaction';

    /** @return array<string, array{string, list<string>, list<string>}> what is late, records, results */
    public static function late(): array
    {
        return [
            'a message of the aborted transaction' => ['produce', ['retried'], [self::SECOND]],
            'only the acknowledgement of such a message' => ['response', ['retried'], [self::SECOND]],
            'the commit of the transaction before' => ['commit', ['before', 'retried'], ['before', self::SECOND]],
        ];
    }

    /**
     * @param list<string> $records
     * @param list<string> $results
     *
     * @dataProvider late
     */
    #[DataProvider('late')]
    public function testALateRequestIsNotPartOfTheNextTransaction(string $late, array $records, array $results): void
    {
        $out = $this->createTopic($this->topic('out'));
        $this->send($this->createTopic($this->topic()), $records);
        $proxy = $this->startScript(__DIR__ . '/late-requests.php', ['args' => [self::address(), $late]]);
        $broker = $this->broker([
            'brokers' => '127.0.0.1:' . $proxy->waitForOutput('/^port (\d+)$/m')[1],
            'delivery' => 'exactly-once',
            'transaction_ms' => 0,
            'producer_config' => ['compression.type' => 'none'],
        ]);
        $handler = static function (Message $message) use ($broker, $out, $proxy, $late): void {
            if ($message->getPayload() === 'before') {
                $broker->send($out, 'before', 'k', [], 0);
            } elseif ($message->getAttempt() === 1) {
                $broker->send($out, self::FIRST, 'k', [], 0);
                $proxy->waitForOutput($late === 'commit' ? '/^late$/m' : '/^lost$/m');
                throw new DomainException('Its transaction is aborted.');
            } else {
                $broker->send($out, self::SECOND, 'k', [], 0);
            }
        };
        $broker->subscribeTopic($this->topic(), $handler);
        self::assertSame(count($records), $broker->consume(batchSize: 1, stopWhenEmpty: true));
        $broker->close();
        self::assertSame($late !== 'response', str_contains($proxy->stdout(), "late\n"), $proxy->stdout());
        $seen = $this->consumeAll($out, count($results));
        self::assertSame($results, array_map(static fn (Message $message) => $message->getPayload(), $seen));
        self::assertSame([], $this->left());
    }

    public function testALateRequestDoesNotOpenTheTransactionOfAWorkerThatHasEnded(): void
    {
        $out = $this->createTopic($this->topic('out'));
        $this->send($this->createTopic($this->topic()), ['first']);
        $proxy = $this->startScript(__DIR__ . '/late-requests.php', ['args' => [self::address(), 'open']]);
        $worker = <<<'PHP'
            $broker = new Broker(['delivery' => 'exactly-once', 'brokers' => getenv('AT')]);
            $broker->subscribeTopic(getenv('IN'), static function (Message $message) use ($broker) {
                $broker->send(getenv('OUT'), getenv('RESULT'), 'k', [], 0);
                if (getenv('RESULT') === 'of an aborted transaction') {
                    while (!file_exists(getenv('GO'))) usleep(10000);
                    eval("class T {}"); eval("class T {}");
                }
            });
            $broker->consume(stopWhenEmpty: true);
            PHP;
        $at = '127.0.0.1:' . $proxy->waitForOutput('/^port (\d+)$/m')[1];
        $go = sys_get_temp_dir() . "/$this->group.go";
        $env = ['AT' => $at, 'IN' => $this->topic(), 'OUT' => $out, 'RESULT' => self::FIRST, 'GO' => $go];
        $ending = $this->startPhp($worker, ['env' => $env]);
        $proxy->waitForOutput('/^lost$/m');
        touch($go);
        $ending->wait()->assertExit(255);
        $proxy->waitForOutput('/^late$/m');
        unlink($go);
        // Readers wait for an open transaction until its timeout.
        $this->send($out, ['after']);
        self::assertCount(1, $this->consumeAll($out, 1));
        $env = ['AT' => self::address(), 'RESULT' => self::SECOND] + $env;
        $next = $this->runPhp($worker, ['env' => $env])->assertExit();
        self::assertStringNotContainsString('A worker was killed', $next->stderr);
        $seen = $this->consumeAll($out, 2);
        self::assertSame(['after', self::SECOND], array_map(static fn (Message $message) => $message->getPayload(), $seen));
        self::assertSame([], $this->left());
    }

    public function testACommitThatWasExecutedWithoutAResponseIsCounted(): void
    {
        $this->send($this->createTopic($this->topic()), ['no', 'yes', 'yes']);
        $proxy = $this->startScript(__DIR__ . '/late-requests.php', ['args' => [self::address(), 'outcome']]);
        $broker = $this->broker([
            'brokers' => '127.0.0.1:' . $proxy->waitForOutput('/^port (\d+)$/m')[1],
            'delivery' => 'exactly-once',
            'producer_config' => ['transaction.timeout.ms' => 3000],
        ]);
        $broker->subscribeTopic($this->topic(), static function (Message $message): void {
            if ($message->getPayload() === 'no') {
                throw new PermanentException('no');
            }
        });
        self::assertSame(3, $broker->consume(stopWhenEmpty: true));
        $stats = $broker->stats();
        $broker->close();
        $counted = [$stats['handled'], $stats['dead_lettered'], $stats['transactions_aborted']];
        self::assertSame([3, 1, 1], $counted);
        self::assertCount(1, $this->letters(1));
        self::assertSame([], $this->left());
    }
}
