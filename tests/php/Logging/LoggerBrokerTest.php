<?php

/**
 * Log lines of the extension: to a logger, standard error or PHP's log; with level and fields, and without secrets.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Logging;

use PHPUnit\Framework\Attributes\DataProvider;
use RuntimeException;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Consuming\ConsumingTestCase;

final class LoggerBrokerTest extends ConsumingTestCase
{
    /** @var list<array{string, string, array<string, string>}> */
    private array $lines = [];

    /** @param array<string, mixed> $more */
    private function configureWith(array $more): void
    {
        Realtime::configure(['default_broker' => 'kafka', 'brokers' => ['kafka' => $this->config()]] + $more);
    }

    private function collector(): callable
    {
        return function (string $level, string $message, array $context): void {
            $this->lines[] = [$level, $message, $context];
        };
    }

    public function testACallableGetsLevelMessageAndContext(): void
    {
        $this->configureWith(['logger' => $this->collector()]);
        Realtime::log('warning', 'the shop is {closed}');
        self::assertCount(1, $this->lines);
        [$level, $message, $context] = $this->lines[0];
        self::assertSame(['warning', 'the shop is {closed}'], [$level, $message]);
        self::assertSame('toporia_realtime', $context['source']);
        self::assertMatchesRegularExpression('/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/', $context['time']);
        self::assertSame('', $this->logged());
    }

    public function testAPsr3LoggerIsCalledByItsLogMethod(): void
    {
        $logger = new class {
            /** @var list<string> */
            public array $lines = [];

            /** @param array<string, mixed> $context */
            public function log(mixed $level, string|\Stringable $message, array $context = []): void
            {
                $this->lines[] = "$level: $message";
            }

            public function __invoke(): void
            {
                throw new RuntimeException('not this one');
            }
        };
        $this->configureWith(['logger' => $logger]);
        Realtime::log('Error', 'lost');
        self::assertSame(['error: lost'], $logger->lines);
    }

    public function testAnInvalidLoggerIsRefused(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('realtime.logger must be a PSR-3 logger');
        $this->configureWith(['logger' => 'nobody']);
    }

    public function testAnInvalidLevelIsRefused(): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('realtime.log_level');
        $this->configureWith(['log_level' => 'loud']);
    }

    public function testTheLevelFilters(): void
    {
        $this->configureWith(['logger' => $this->collector(), 'log_level' => 'warning']);
        foreach (['debug', 'info', 'notice', 'warning', 'critical'] as $level) {
            Realtime::log($level, "a $level");
        }
        self::assertSame(['warning', 'critical'], array_column($this->lines, 0));
    }

    public function testRepeatedLinesAreFolded(): void
    {
        $text = $this->runPhp(<<<'PHP'
            for ($i = 0; $i < 5; $i++) {
                Realtime::log('warning', 'again');
            }
            PHP)->assertExit()->stderr;
        self::assertSame(1, preg_match_all('/msg="again" /', $text));
        self::assertStringContainsString('msg="again (and 4 more times since)"', $text, 'said at the end');
    }

    public function testALoggerThatThrowsBreaksNeitherSendingNorConsuming(): void
    {
        $calls = 0;
        $this->configureWith(['logger' => function () use (&$calls): void {
            $calls++;
            throw new RuntimeException('disk full');
        }]);
        Realtime::log('error', 'first');
        Realtime::log('error', 'second');
        Realtime::broadcast('a', 'one');
        Realtime::flush();
        $tries = 0;
        $broker = $this->broker(['max_retries' => 1, 'retry_backoff_ms' => 1]);
        $broker->subscribe('a', static function (Message $message) use (&$tries): void {
            $tries++;
            throw new RuntimeException('no');
        });
        self::assertSame(1, $broker->consume(10_000, maxMessages: 1));
        self::assertSame(2, $tries);
        self::assertGreaterThanOrEqual(4, $calls);
        $logged = $this->logged();
        self::assertStringContainsString('toporia_realtime.error: first', $logged, 'nothing is lost');
        self::assertStringContainsString('toporia_realtime.error: second', $logged);
        self::assertSame(1, substr_count($logged, 'The logger of realtime.logger threw RuntimeException: disk full'));
    }

    public function testALoggerThatThrowsKeepsThePendingException(): void
    {
        $this->configureWith(['logger' => static fn () => throw new RuntimeException('disk full')]);
        Realtime::broadcast('a', 'one');
        Realtime::flush();
        $broker = $this->broker(self::AT_ONCE);
        $broker->subscribe('a', static fn () => throw new \DomainException('the callback'));
        try {
            $broker->consume(10_000, maxMessages: 1);
            self::fail('it throws');
        } catch (\DomainException $e) {
            self::assertSame('the callback', $e->getMessage());
            self::assertNull($e->getPrevious());
        }
    }

    public function testALoggerMayBroadcast(): void
    {
        $this->configureWith(['logger' => function (string $level, string $message): void {
            $this->lines[] = [$level, $message, []];
            Realtime::broadcast('logs', 'said', $message);
        }]);
        Realtime::log('error', 'one');
        Realtime::flush();
        self::assertSame('one', $this->consumeAll($this->channelTopic('logs'), 1)[0]->getData()['data']);
        self::assertSame(1, count(array_keys(array_column($this->lines, 1), 'one', true)));
    }

    public function testLibrdkafkaLogsThroughTheSameLogger(): void
    {
        $this->configureWith(['logger' => $this->collector()]);
        $port = self::freePort();
        $broker = new Broker($this->config(['brokers' => "127.0.0.1:$port", 'shutdown_flush_ms' => 0,
            'producer_config' => ['message.timeout.ms' => 300]]));
        $broker->send('nowhere', 'x');
        self::eventually(function (): bool {
            try {
                Realtime::flush(50);
            } catch (\Throwable) {
            }

            return array_filter($this->lines, static fn (array $line): bool => $line[2]['source'] === 'librdkafka') !== [];
        }, 'librdkafka says that nobody is there');
        $line = array_values(array_filter($this->lines, static fn (array $line): bool => $line[2]['source'] === 'librdkafka'))[0];
        self::assertSame('error', $line[0]);
        self::assertStringContainsString("127.0.0.1:$port", $line[1]);
        self::assertNotSame('', $line[2]['client']);
        self::assertNotSame('', $line[2]['facility']);
        try {
            Realtime::flush(5000);
            self::fail('The message went somewhere.');
        } catch (DeliveryException $e) {
            self::assertSame('nowhere', $e->getFailed()[0]['topic']);
        }
    }

    /** @dataProvider formats */
    #[DataProvider('formats')]
    public function testOnTheCommandLineALineIsOneLineOnStandardError(?string $format, string $pattern): void
    {
        $result = $this->runPhp('Realtime::log("warning", "two\nlines");', ['env' => ['REALTIME_LOG_FORMAT' => $format]]);
        self::assertSame('', $result->assertExit()->stdout);
        self::assertMatchesRegularExpression($pattern, $result->stderr);
    }

    /** @return iterable<string, array{?string, string}> */
    public static function formats(): iterable
    {
        $time = '\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z';
        yield 'logfmt' => [null, '/^time=' . $time . ' level=warning msg="two\\\\nlines" pid=\d+\n\z/'];
        yield 'json' => [
            'json',
            '/^\{"time":"' . $time . '","level":"warning","message":"two\\\\nlines","pid":\d+\}\n\z/',
        ];
    }

    public function testALevelFromTheEnvironmentApplies(): void
    {
        $result = $this->runPhp(
            'Realtime::log("warning", "small"); Realtime::log("error", "large");',
            ['env' => ['REALTIME_LOG_LEVEL' => 'error']]
        );
        self::assertStringNotContainsString('small', $result->assertExit()->stderr);
        self::assertStringContainsString('large', $result->stderr);
    }

    public function testPhpsOwnLogIsUsedWhereItIsConfigured(): void
    {
        Realtime::log('error', 'into the file');
        self::assertStringContainsString('toporia_realtime.error: into the file', $this->logged());
    }

    public function testNoPasswordIsEverWritten(): void
    {
        $port = self::freePort();
        $secrets = ['Sasl-Secret-1', 'Key-Secret-2', 'Gateway-Secret-3', 'Outbox-Secret-4', 'Url-Secret-5'];
        $result = $this->runPhp(<<<PHP
            Realtime::configure([
                'brokers' => ['kafka' => [
                    'brokers' => '127.0.0.1:$port',
                    'security' => ['protocol' => 'sasl_plaintext', 'mechanism' => 'PLAIN', 'username' => 'shop',
                        'password' => 'Sasl-Secret-1'],
                    'producer_config' => ['debug' => 'all', 'ssl.key.password' => 'Key-Secret-2'],
                    'shutdown_flush_ms' => 300,
                ]],
                'gateway' => ['app_id' => '1', 'key' => 'k', 'secret' => 'Gateway-Secret-3'],
                'outbox' => ['dsn' => 'sqlite::memory:', 'password' => 'Outbox-Secret-4'],
            ]);
            Realtime::broadcast('a', 'one');
            Realtime::log('error', 'refused: Sasl-Secret-1 Gateway-Secret-3 Outbox-Secret-4 sasl.password=Sasl-Secret-1 '
                . 'at https://shop:Url-Secret-5@example.com/x');
            usleep(300_000);
            PHP, ['env' => ['REALTIME_LOG_LEVEL' => null]]);
        self::assertStringContainsString('level=debug', $result->stderr, 'the property debug asks for it');
        self::assertStringContainsString('sasl.username', $result->stderr, 'librdkafka shows its configuration');
        self::assertStringContainsString('https://***@example.com/x', $result->stderr);
        foreach ($secrets as $secret) {
            self::assertStringNotContainsString($secret, $result->stderr . $result->stdout);
        }
    }

    public function testAnExitInTheLoggerEndsTheProcess(): void
    {
        $this->runPhp(<<<'PHP'
            Realtime::configure(['logger' => static function () { exit(7); }]);
            Realtime::log('error', 'one');
            echo 'not reached';
            PHP)->assertExit(7);
    }

    public function testALoggerIsStillUsedAtTheEndOfTheProcess(): void
    {
        $port = self::freePort();
        $result = $this->runPhp(<<<PHP
            Realtime::configure(['logger' => static function (string \$level, string \$message): void {
                fwrite(STDOUT, "[\$level] \$message\\n");
            }, 'brokers' => ['kafka' => ['brokers' => '127.0.0.1:$port', 'shutdown_flush_ms' => 100]]]);
            Realtime::broadcast('a', 'one');
            PHP);
        self::assertMatchesRegularExpression('/^\[error\] .*not/m', $result->stdout . $result->stderr);
    }
}
