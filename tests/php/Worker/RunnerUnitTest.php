<?php

/**
 * The options reach Broker::consume() unchanged; run without the extension, with a fake.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class RunnerUnitTest extends TestCase
{
    use RunsPhp;

    private const RUN = <<<'PHP'
        use Symfony\Component\Console\Tester\ApplicationTester;
        use Toporia\Realtime\Console\{Application, PlainHost};

        final class Recorder implements Toporia\Realtime\Contract\Publisher, Toporia\Realtime\Contract\Consumer
        {
            public array $calls = [];
            public ?Throwable $throw = null;
            public function publish(string $channel, Message $message, ?string $key = null, array $headers = []): string
            {
                return '';
            }
            public function publishBatch(array $messages, int $flushTimeoutMs = 10000): array { return []; }
            public function send(
                string $topic, mixed $value, ?string $key = null, array $headers = [], ?int $partition = null
            ): string {
                return '';
            }
            public function subscribe(string $channel, ?callable $callback = null): static
            {
                $this->calls[] = "subscribe $channel";
                return $this;
            }
            public function subscribeBatch(string $channel, callable $callback): static { return $this; }
            public function subscribeTopic(string $topic, ?callable $callback = null): static { return $this; }
            public function unsubscribe(string $channel): static { return $this; }
            public function consume(
                int $timeoutMs = 1000, int $batchSize = 100, int $maxMessages = 0, bool $stopWhenEmpty = false
            ): int {
                $this->calls[] = func_get_args();
                return $this->throw === null ? 5 : throw $this->throw;
            }
            public function stopConsuming(): void {}
            public function poll(int $timeoutMs = 1000): ?Message { return null; }
            public function ack(Message $message): void {}
            public function nack(Message $message, ?Throwable $why = null): void {}
        }

        $recorder = new Recorder();
        Realtime::swap($recorder);
        $tester = new ApplicationTester(new Application(new PlainHost([], '/srv/app')));
        $run = static function (array $options) use ($tester): array {
            $code = $tester->run(['command' => 'realtime:kafka:consume'] + $options);
            return [$code, $tester->getDisplay()];
        };
        PHP;

    public function testConsumeGetsTheOptions(): void
    {
        $calls = $this->execute(<<<'PHP'
            $run(['--channels' => ['a,b.*']]);
            $run(['--channels' => ['c'], '--timeout' => '250', '--batch-size' => '7', '--max-messages' => '9',
                '--stop-when-empty' => true]);
            echo json_encode($recorder->calls);
            PHP);
        self::assertSame(
            ['subscribe a', 'subscribe b.*', [1000, 100, 0, false], 'subscribe c', [250, 7, 9, true]],
            $calls
        );
    }

    public function testTheSummaryContainsConsumesResult(): void
    {
        [$code, $output] = $this->execute('echo json_encode($run(["--channels" => ["a"], "--json" => true]));');
        self::assertSame(0, $code);
        $lines = explode("\n", trim($output));
        $summary = json_decode((string) end($lines), true);
        self::assertSame(['summary', 'stopped', 0, 5], [
            $summary['type'], $summary['reason'], $summary['exit_code'], $summary['handled'],
        ]);
    }

    public function testAnExceptionOfConsumeIsExitCode1(): void
    {
        [$code, $output] = $this->execute(<<<'PHP'
            $recorder->throw = new Toporia\Realtime\Exception\ConnectionException('authentication refused');
            echo json_encode($run(['--channels' => ['a']]));
            PHP);
        self::assertSame(1, $code);
        self::assertStringContainsString('FAILED: ', $output);
        self::assertStringContainsString('authentication refused', $output);
        self::assertStringContainsString('Stopped by an error.', $output);
    }

    private function execute(string $code): mixed
    {
        return $this->runPhp(self::RUN . "\n" . $code, ['extension' => false])->json();
    }
}
