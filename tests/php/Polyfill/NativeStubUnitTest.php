<?php

/**
 * Without the extension: every class exists, reports the missing extension, and works while faked.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Polyfill;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Tests\Support\ProcessResult;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class NativeStubUnitTest extends TestCase
{
    use RunsPhp;

    public function testEveryMethodReportsTheMissingExtension(): void
    {
        $result = $this->withoutExtension(<<<'PHP'
            $calls = [
                fn () => Realtime::broadcast('user.1', 'paid'),
                fn () => Realtime::broker(),
                fn () => new Broker(['brokers' => 'x:1']),
                fn () => EmbeddedBroker::start(),
                fn () => new Toporia\Realtime\Admin(),
                fn () => new Toporia\Realtime\Gateway(),
                fn () => Toporia\Realtime\Gateway::authorize("1.2", "private-a"),
                fn () => Toporia\Realtime\broadcast('user.1', 'paid'),
                fn () => Toporia\Realtime\realtime(),
            ];
            foreach ($calls as $call) {
                try {
                    $call();
                    echo "nothing thrown\n";
                } catch (Toporia\Realtime\Exception\ExtensionMissingException $e) {
                    echo $e->getMessage(), "\n";
                }
            }
            PHP);
        self::assertCount(9, $result->lines(), $result->describe());
        foreach ($result->lines() as $line) {
            self::assertStringContainsString('needs the PHP extension toporia_realtime, which is not loaded', $line);
            self::assertMatchesRegularExpression('/`(make|pie) install|"extension=toporia_realtime"/', $line);
        }
    }

    public function testAnApplicationBootsAndEndsWithoutIt(): void
    {
        $result = $this->withoutExtension(<<<'PHP'
            Realtime::configure(['brokers' => []]);
            Realtime::flush();
            Realtime::restore();
            echo json_encode(Realtime::stats());
            PHP)->json();
        self::assertFalse($result['fake']);
        self::assertFalse($result['broker_reachable']);
        self::assertStringContainsString('toporia_realtime', $result['last_error']);
    }

    public function testWhileFakedBrokersSendAndReceiveThroughTheFake(): void
    {
        $result = $this->withoutExtension(<<<'PHP'
            $fake = Realtime::fake();
            $broker = Realtime::broker();
            $seen = [];
            $broker->onTick(fn () => null)->onAssigned(fn () => null)->onRevoked(fn () => null);
            $broker->subscribe('user.*', function (Message $m) use (&$seen) { $seen[] = $m->getEvent(); });
            $fake->receive('user.1', 'paid');
            $handled = $broker->consume();
            $broker->publish('user.2', Message::event(null, 'sent'));
            $broker->send('raw', 'x');
            $broker->publishBatch([['user.3', 'batch']]);
            $fake->assertBroadcastTimes('user.**', null, 2);
            $broker->close();
            echo json_encode([$handled, $seen, count($fake->sent()), $broker->stats()['stop_reason']]);
            PHP)->json();
        self::assertSame([1, ['paid'], 3, null], $result);
    }

    public function testAPublisherThatCannotReceiveIsReported(): void
    {
        $result = $this->withoutExtension(<<<'PHP'
            Realtime::swap(new class implements Toporia\Realtime\Contract\Publisher {
                public function publish(string $c, Message $m, ?string $k = null, array $h = []): string { return 'x'; }
                public function publishBatch(array $m, int $f = 10000): array { return []; }
                public function send(string $t, mixed $v, ?string $k = null, array $h = [], ?int $p = null): string
                {
                    return 'y';
                }
            });
            try {
                Realtime::broker()->subscribe('a')->poll();
            } catch (Toporia\Realtime\Exception\ExtensionMissingException $e) {
                echo $e->getMessage();
            }
            PHP);
        self::assertStringContainsString('Broker::subscribe() needs', $result->stdout);
    }

    public function testExceptionsCanBeThrownAndCaught(): void
    {
        $result = $this->withoutExtension(<<<'PHP'
            use Toporia\Realtime\Exception as E;
            $batch = new E\BatchException(3, new Exception('why'));
            $delivery = new E\DeliveryException('x');
            echo json_encode([
                $batch->getIndex(), $batch->getPrevious()->getMessage(), $batch->getMessage(), $delivery->getFailed(),
                new E\TransientException('t') instanceof E\Transient,
                new E\PermanentException('p') instanceof E\Permanent,
                $delivery instanceof RuntimeException, $delivery instanceof E\RealtimeException,
                new E\EncodingException('e') instanceof InvalidArgumentException,
            ]);
            PHP)->json();
        self::assertSame([3, 'why', 'Message 3 of the batch failed: why', [], true, true, true, true, true], $result);
    }

    private function withoutExtension(string $code): ProcessResult
    {
        return $this->runPhp($code, ['extension' => false])->assertExit();
    }
}
