<?php

/**
 * A child that is forked in a callback or hook: it neither consumes its parent's records nor delays its own end.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use PHPUnit\Framework\Attributes\DataProvider;

final class ForkInCallbackBrokerTest extends ConsumingTestCase
{
    /**
     * @return array<string, array{string, string}>
     */
    public static function children(): array
    {
        $cases = [];
        foreach (['at-least-once', 'exactly-once', 'at-most-once'] as $delivery) {
            foreach (['return;', 'exit(0);', 'throw new DomainException("child");'] as $child) {
                $cases["$delivery: $child"] = [$delivery, $child];
            }
        }

        return $cases;
    }

    /** @dataProvider children */
    #[DataProvider('children')]
    public function testTheParentHandlesEveryRecordOnceAndTheChildEndsImmediately(string $delivery, string $child): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $process = $this->startPhp(<<<PHP
            \$parent = getmypid();
            \$broker = new Broker(['delivery' => '$delivery']);
            \$broker->subscribe('user.1', static function (Message \$message) use (\$parent): void {
                if (getmypid() !== \$parent) {
                    echo "the child got {\$message->getData()}\\n";
                    exit(9);
                }
                if (\$message->getData() === 2) {
                    \$started = microtime(true);
                    \$pid = pcntl_fork();
                    if (\$pid === 0) {
                        $child
                    }
                    pcntl_waitpid(\$pid, \$status);
                    \$after = microtime(true) - \$started < 1.5 ? 'no time' : 'a long time';
                    printf("child %d after %s\\n", pcntl_wexitstatus(\$status), \$after);
                }
                echo "handled {\$message->getData()}\\n";
            });
            try {
                \$handled = \$broker->consume(200, 100, 3);
            } catch (Throwable \$e) {
                if (getmypid() === \$parent) {
                    throw \$e;
                }
                exit(\$e instanceof Toporia\Realtime\Exception\ConfigurationException || \$e instanceof DomainException ? 7 : 8);
            }
            echo getmypid() === \$parent ? "all \$handled\\n" : "the child returned\\n";
            PHP);
        $result = $process->wait(30);
        $code = $child === 'exit(0);' ? 0 : 7;
        self::assertSame("handled 1\nchild $code after no time\nhandled 2\nhandled 3\nall 3\n", $result->stdout, $result->stderr);
        if ($delivery !== 'exactly-once' || self::isReal()) {
            // The embedded broker keeps no offsets of transactions.
            self::assertSame([], $this->rest('user.1'));
        }
    }

    /**
     * @return array<string, array{string, string, int}> hook, what the child does, its exit code
     */
    public static function hooks(): array
    {
        $cases = [];
        foreach (['onAssigned', 'onTick', 'onFailed'] as $hook) {
            $cases["$hook returns"] = [$hook, 'return;', 7];
            $cases["$hook exits"] = [$hook, 'exit(0);', 0];
            $cases["$hook throws"] = [$hook, 'throw new DomainException("child");', 7];
        }

        return $cases;
    }

    /** @dataProvider hooks */
    #[DataProvider('hooks')]
    public function testAChildOfAHookEndsImmediatelyToo(string $hook, string $child, int $code): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $process = $this->startPhp(<<<PHP
            \$parent = getmypid();
            \$child = null;
            \$broker = new Broker(['max_retries' => 1, 'retry_backoff_ms' => 1]);
            \$broker->$hook(static function () use (&\$child): void {
                if (\$child === null && (\$child = pcntl_fork()) === 0) {
                    $child
                }
            });
            \$done = [];
            \$broker->subscribe('user.1', static function (Message \$message) use (&\$done): void {
                if (\$message->getData() === 2 && \$message->getAttempt() === 1) {
                    throw new DomainException('again');
                }
                \$done[] = \$message->getData();
            });
            try {
                \$broker->consume(200, 100, 3);
            } catch (Throwable \$e) {
                if (getmypid() === \$parent) {
                    throw \$e;
                }
                exit(\$e instanceof Toporia\Realtime\Exception\ConfigurationException || \$e instanceof DomainException ? 7 : 8);
            }
            sort(\$done);
            echo json_encode(\$done), "\\n";
            for (\$n = 0; \$n < 200 && (\$ended = pcntl_waitpid(\$child, \$status, WNOHANG)) === 0; \$n++) {
                usleep(20_000);
            }
            echo \$ended === 0 ? 'the child hangs' : 'child ' . pcntl_wexitstatus(\$status), "\\n";
            \$ended === 0 && posix_kill(\$child, SIGKILL);
            PHP);
        $result = $process->wait(40);
        self::assertSame("[1,2,3]\nchild $code\n", $result->stdout, $result->stderr);
    }
}
