<?php

/**
 * Admin::read(): every record up to the end offset at the call, in order, as a consumer would get it, with no commit.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Admin;

use RuntimeException;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Message;

final class ReadBrokerTest extends AdminTestCase
{
    public function testEveryRecordOfEveryPartitionInOrder(): void
    {
        $topic = $this->filled([400, 0, 3]);
        $expected = [
            0 => array_map(static fn (int $i) => "0-$i", range(0, 399)),
            2 => ['2-0', '2-1', '2-2'],
        ];
        self::assertSame($expected, $this->readAll($topic));
        self::assertSame($expected, $this->readAll($topic), 'again: nothing is committed');
        self::assertSame([], $this->readAll($this->createTopic($this->topic('empty'), 2)));
    }

    public function testReadingFromAnotherOffset(): void
    {
        $topic = $this->filled([4, 4, 4]);
        self::assertSame([0 => ['0-3'], 1 => ['1-0', '1-1', '1-2', '1-3']], $this->readAll($topic, [0 => 3, 2 => 100]));
    }

    public function testAMessageEqualsTheOneAConsumerGets(): void
    {
        $topic = $this->createTopic($this->channelTopic('user.1'));
        $broker = $this->broker();
        $broker->publish('user.1', Message::event('user.1', 'paid', ['id' => 7]), 'k', ['h' => 'v']);
        $broker->send($topic, null, 'tombstone');
        $broker->close();
        $read = [];
        $this->admin->read($topic, static function (Message $message) use (&$read): void {
            $read[] = $message;
        });
        $show = static fn (Message $m): array => [
            $m->getId(), $m->getType(), $m->getChannel(), $m->getEvent(), $m->getData(), $m->getTimestamp(),
            $m->getHeaders(), $m->getKey(), $m->getTopic(), $m->getPartition(), $m->getOffset(), $m->getAttempt(),
            $m->getPayload(),
        ];
        $consumed = $this->consumeAll($topic, 2);
        self::assertCount(2, $read);
        self::assertSame(array_map($show, $consumed), array_map($show, $read));
        self::assertSame(['raw', 'k', null], [$read[0]->getType(), $read[0]->getKey(), $read[1]->getPayload()]);
    }

    public function testMessagesSentDuringTheReadAreNotIncluded(): void
    {
        $topic = $this->filled([3]);
        $broker = $this->broker(['produce' => 'sync']);
        $count = $this->admin->read($topic, static function (Message $m) use ($broker, $topic): void {
            $broker->send($topic, 'again ' . $m->getPayload());
        });
        self::assertSame(3, $count);
        self::assertCount(6, $this->readAll($topic)[0]);
    }

    public function testOnlyReturningFalseEndsIt(): void
    {
        $topic = $this->filled([600]);
        self::assertSame(2, $this->admin->read($topic, static fn (Message $m) => $m->getOffset() < 1));
        self::assertSame(600, $this->admin->read($topic, static fn () => 0));
    }

    public function testACallbackThrows(): void
    {
        $topic = $this->filled([600]);
        for ($i = 0; $i < 3; $i++) {
            $e = self::thrown(RuntimeException::class, fn () => $this->admin->read($topic, static function (): void {
                throw new RuntimeException('enough');
            }));
            self::assertSame('enough', $e->getMessage());
        }
        self::assertSame(600, $this->admin->read($topic, static fn () => null), 'it can be read again');
    }

    public function testANestedReadIsRefused(): void
    {
        $topic = $this->filled([1]);
        $this->admin->read($topic, function () use ($topic): void {
            self::assertSame([0 => ['beginning' => 0, 'end' => 1]], $this->admin->offsets($topic));
            $second = new Admin($this->config());
            self::assertSame(1, $second->read($topic, static fn () => null));
            $e = self::thrown(ConfigurationException::class, fn () => $this->admin->read($topic, static fn () => null));
            self::assertStringContainsString('a second Admin', $e->getMessage());
        });
    }

    public function testClosedWhileReadingItEndsAfterTheCurrentRecord(): void
    {
        $topic = $this->filled([50]);
        self::assertSame(1, $this->admin->read($topic, fn () => $this->admin->close()));
        self::thrown(ConfigurationException::class, fn () => $this->admin->offsets($topic));
        $this->admin->close();
    }

    public function testUnreadableTopicsAreReported(): void
    {
        $topic = $this->filled([1]);
        $read = fn (string $topic, array $from = []) => $this->admin->read($topic, static fn () => null, $from);
        $e = self::thrown(UnknownTopicException::class, fn () => $read($this->topic('missing')));
        self::assertStringContainsString($this->topic('missing'), $e->getMessage());
        self::thrown(ConfigurationException::class, fn () => $read($topic, [7 => 0]));
        self::thrown(ConfigurationException::class, fn () => $read($topic, [0 => -1]));
        self::thrown(ConfigurationException::class, fn () => $read($topic, ['x' => 0]));
    }

    public function testAFatalErrorInACallbackEndsTheProcessImmediately(): void
    {
        $topic = $this->filled([600]);
        $exits = [
            'ini_set("memory_limit", "32M"); str_repeat("x", 1 << 26);' => 255,
            'exit(3);' => 3,
        ];
        foreach ($exits as $exit => $code) {
            $result = $this->runPhp(<<<PHP
                \$admin = new Toporia\Realtime\Admin();
                \$GLOBALS['kept'] = [\$admin, function () use (\$admin) {}];
                \$admin->read('$topic', function (Message \$m): void { if (\$m->getOffset() === 5) { $exit } });
                PHP);
            self::assertSame($code, $result->exitCode, $result->describe());
            self::assertLessThan(5.0, $result->seconds);
        }
    }

    public function testAForkedChildHasAClientOfItsOwn(): void
    {
        $topic = $this->filled([5]);
        $result = $this->runPhp(<<<PHP
            \$admin = new Toporia\Realtime\Admin();
            echo \$admin->read('$topic', fn () => null), "\n";
            if ((\$pid = pcntl_fork()) === 0) {
                echo \$admin->read('$topic', fn () => null), "\n";
                exit;
            }
            pcntl_waitpid(\$pid, \$status);
            echo \$status, "\n", \$admin->read('$topic', fn () => null), "\n";
            PHP)->assertExit();
        self::assertSame(['5', '5', '0', '5'], $result->lines());
    }

    public function testSignalHandlersRunWhileItWaits(): void
    {
        $result = $this->runPhp(<<<'PHP'
            pcntl_async_signals(true);
            pcntl_signal(SIGALRM, function () { throw new RuntimeException('alarm'); });
            pcntl_alarm(1);
            try {
                (new Toporia\Realtime\Admin(['brokers' => '127.0.0.1:1']))->topics();
            } catch (RuntimeException $e) {
                echo get_class($e), ' ', $e->getMessage();
            }
            PHP)->assertExit();
        self::assertSame('RuntimeException alarm', $result->stdout);
        self::assertLessThan(4.0, $result->seconds);
    }

    public function testAnUnreachableKafkaIsReportedInTime(): void
    {
        $admin = new Admin(['brokers' => '127.0.0.1:1']);
        $start = microtime(true);
        $e = self::thrown(ConnectionException::class, static fn () => $admin->offsets('any'));
        self::assertMatchesRegularExpression('/127\.0\.0\.1:1.*10 s.*refused/', $e->getMessage());
        self::assertLessThan(13.0, microtime(true) - $start);
    }
}
