<?php

/**
 * A record counts as handled only once its callback has returned: exceptions that end consume(), kills, restarts.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use DomainException;
use Error;
use Toporia\Realtime\Message;

final class AtLeastOnceBrokerTest extends ConsumingTestCase
{
    public function testAnExceptionWithoutRetriesAndDeadLettersEndsConsumeWithIt(): void
    {
        $this->publish('user.1', range(0, 199));
        $topic = $this->channelTopic('user.1');
        $boom = new DomainException('no');
        $seen = [];
        $failing = true;
        $broker = $this->broker(self::AT_ONCE);
        $broker->subscribe('user.1', static function (Message $message) use (&$seen, &$failing, $boom): void {
            if ($message->getData() === 57 && $failing) {
                throw $boom;
            }
            $seen[] = [$message->getData(), $message->getAttempt()];
        });
        try {
            $broker->consume(batchSize: 100, stopWhenEmpty: true);
            self::fail('consume() went on.');
        } catch (DomainException $e) {
            self::assertSame($boom, $e, 'the same object, its trace included');
        }
        self::assertSame(range(0, 56), array_column($seen, 0));
        self::assertSame('error', $broker->stats()['stop_reason']);
        self::assertSame(57, $broker->stats()['handled']);
        self::assertSame(1, $broker->stats()['failures']);

        $failing = false;
        self::assertSame(143, $this->drain($broker), 'it goes on with the record that failed');
        self::assertSame(range(0, 199), array_column($seen, 0), 'nothing lost, nothing twice');
        self::assertSame(2, $seen[57][1], 'its second attempt');
        self::assertSame([1], array_values(array_unique(array_column(array_merge(
            array_slice($seen, 0, 57),
            array_slice($seen, 58)
        ), 1))), 'the first attempt of all others');
        $broker->close();
        self::assertContains(200, $this->committed($topic));
    }

    public function testAfterAnExceptionANewMemberStartsWithTheFailedRecord(): void
    {
        $this->publish('user.1', range(0, 199));
        $broker = $this->broker(self::AT_ONCE)->subscribe('user.1', static function (Message $message): void {
            if ($message->getData() === 57) {
                throw new Error('no');
            }
        });
        try {
            $this->drain($broker);
            self::fail('consume() went on.');
        } catch (Error $e) {
            self::assertSame('no', $e->getMessage());
        }
        $broker->close();
        self::assertContains(57, $this->committed($this->channelTopic('user.1')), 'up to it, and not beyond');
        self::assertSame(range(57, 199), $this->rest('user.1'));
    }

    public function testARecordThatAlwaysFailsIsDeliveredAgainEachTime(): void
    {
        $this->publish('user.1', [1, 2]);
        $attempts = [];
        $broker = $this->broker(self::AT_ONCE);
        $broker->subscribe('user.1', static function (Message $message) use (&$attempts): void {
            $attempts[] = $message->getAttempt();
            throw new DomainException((string) $message->getData());
        });
        for ($i = 0; $i < 3; $i++) {
            try {
                $this->drain($broker);
                self::fail('consume() went on.');
            } catch (DomainException $e) {
                self::assertSame('1', $e->getMessage());
            }
        }
        self::assertSame([1, 2, 3], $attempts);
    }

    public function testAnExceptionBlocksOnlyItsOwnPartition(): void
    {
        $topic = $this->topic();
        $this->send($topic, range(0, 39), null);
        $seen = [];
        $broker = $this->broker(self::AT_ONCE);
        $broker->subscribeTopic($topic, static function (Message $message) use (&$seen): void {
            if ($message->getPartition() === 2 && $message->getOffset() === 4) {
                throw new DomainException('no');
            }
            $seen[] = $message->getData();
        });
        try {
            $this->drain($broker);
            self::fail('consume() went on.');
        } catch (DomainException) {
            $broker->close();
        }
        $committed = $this->committed($topic);
        self::assertSame(4, $committed[2] ?? null);
        $left = [];
        $again = $this->broker()->subscribeTopic($topic, static function (Message $message) use (&$left): void {
            $left[] = $message->getData();
        });
        $this->drain($again);
        self::assertSame([], array_values(array_intersect($seen, $left)), 'what was handled does not come again');
        self::assertEqualsCanonicalizing(range(0, 39), array_merge($seen, $left));
    }

    public function testMaxMessagesIsExactAndTheRestIsNotCommitted(): void
    {
        $this->publish('user.1', range(0, 99));
        $seen = [];
        $broker = $this->broker()->subscribe('user.1', static function (Message $message) use (&$seen): void {
            $seen[] = $message->getData();
        });
        self::assertSame(37, $broker->consume(batchSize: 100, maxMessages: 37));
        self::assertSame('max_messages', $broker->stats()['stop_reason']);
        self::assertSame(range(0, 36), $seen);
        self::assertSame(1, $broker->consume(maxMessages: 1), 'the same broker goes on');
        self::assertSame(37, end($seen));
        $broker->close();
        self::assertSame(range(38, 99), $this->rest('user.1'));
    }

    public function testACleanRestartDeliversNothingTwice(): void
    {
        $this->publish('user.1', range(0, 499));
        $seen = [];
        for ($i = 0; $i < 5; $i++) {
            $broker = $this->broker()->subscribe('user.1', static function (Message $message) use (&$seen): void {
                $seen[] = $message->getData();
            });
            self::assertSame(100, $broker->consume(maxMessages: 100));
            $broker->close();
        }
        self::assertSame(range(0, 499), $seen);
        self::assertSame([], $this->rest('user.1'));
    }

    public function testKilledAndRestartedEveryRecordIsHandled(): void
    {
        $this->publish('user.1', range(0, 1999));
        $child = $this->startPhp($this->worker('usleep(300);'), ['timeout' => 30.0]);
        self::eventually(fn (): bool => count($this->noted()) > 300, 'it is in mid-run', 15.0);
        $child->signal(9);
        $killed = $child->wait();
        self::assertSame(9, $killed->signal);
        $before = count($this->noted());
        self::assertLessThan(2000, $before);

        $this->runPhp($this->worker(), ['timeout' => 30.0])->assertExit();
        $noted = array_map('intval', $this->noted());
        self::assertSame([], array_diff(range(0, 1999), $noted), 'nothing is lost');
        self::assertSame(range(0, 1999), array_values(array_unique($noted)), 'and the order is kept');
    }

    /** Appends each record's data to the notes, then runs `$then`. */
    private function worker(string $then = ''): string
    {
        return <<<PHP
            \$notes = fopen(getenv('TEST_NOTES'), 'a');
            \$broker = new Broker();
            \$broker->subscribe('user.1', function (Message \$message) use (\$notes) {
                fwrite(\$notes, \$message->getData() . "\\n");
                $then
            });
            \$broker->consume(stopWhenEmpty: true);
            PHP;
    }
}
