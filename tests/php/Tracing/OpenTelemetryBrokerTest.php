<?php

/**
 * Spans around sending and handling, with the OpenTelemetry API; in child processes, where its stand-in may be loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Tracing;

use Toporia\Realtime\Tests\Consuming\ConsumingTestCase;

final class OpenTelemetryBrokerTest extends ConsumingTestCase
{
    private const PRODUCER = 3;
    private const CONSUMER = 4;

    /**
     * Runs code with the stand-in of the API, and returns its spans.
     *
     * @param array<string, string> $env
     *
     * @return list<array<string, mixed>>
     */
    private function spans(string $code, array $env = []): array
    {
        $double = var_export(__DIR__ . '/Doubles/autoload.php', true);
        $result = $this->runPhp(<<<PHP
            require $double;
            use OpenTelemetry\API\Globals;
            use OpenTelemetry\API\Baggage\Baggage;
            use OpenTelemetry\Context\Context;
            // As an application that sets OpenTelemetry up: the class is loaded.
            Globals::\$spans = [];
            \$request = (new OpenTelemetry\API\Trace\SpanBuilder('request'))->startSpan();
            $code
            Realtime::flush();
            echo json_encode([array_map(fn (\$span) => \$span->record, Globals::\$spans), count(Context::\$active)]);
            PHP, ['env' => $env, 'timeout' => 40.0])->assertExit()->json();
        self::assertSame(0, $result[1], 'every scope was detached');

        return $result[0];
    }

    public function testFromTheRequestThroughTheHandlerToTheNextMessage(): void
    {
        [$request, $sent, $handled, $next] = $this->spans(<<<'PHP'
            $scope = (new Baggage('tenant=7'))->storeInContext($request->storeInContext(Context::getRoot()))->activate();
            Realtime::broadcast('in', 'paid', ['n' => 1], key: 'k');
            $scope->detach();
            $broker = Realtime::broker();
            $broker->subscribe('in', function (Message $message) {
                if (Baggage::fromContext(Context::getCurrent())->text !== 'tenant=7') {
                    exit(9);
                }
                Realtime::broadcast('out', 'next');
            });
            $broker->consume(20_000, maxMessages: 1);
            PHP);
        $topic = $this->channelTopic('in');

        self::assertSame("send $topic", $sent['name']);
        self::assertSame(self::PRODUCER, $sent['kind']);
        self::assertSame($request['span'], $sent['parent']);
        self::assertSame(
            ['messaging.system' => 'kafka', 'messaging.operation.name' => 'send', 'messaging.operation.type' => 'send',
                'messaging.destination.name' => $topic, 'messaging.kafka.message.key' => 'k'],
            array_diff_key($sent['attributes'], ['messaging.message.id' => 1, 'messaging.message.body.size' => 1])
        );
        self::assertGreaterThan(50, $sent['attributes']['messaging.message.body.size']);

        self::assertSame("process $topic", $handled['name']);
        self::assertSame(self::CONSUMER, $handled['kind']);
        self::assertSame([[$sent['span'], []]], $handled['links'], 'linked to what made the message');
        self::assertNull($handled['parent']);
        self::assertNotSame($sent['trace'], $handled['trace']);
        self::assertSame([
            'messaging.system' => 'kafka',
            'messaging.operation.name' => 'process',
            'messaging.operation.type' => 'process',
            'messaging.destination.name' => $topic,
            'messaging.destination.partition.id' => $handled['attributes']['messaging.destination.partition.id'],
            'messaging.consumer.group.name' => $this->group,
            'messaging.kafka.message.key' => 'k',
            'messaging.message.body.size' => $sent['attributes']['messaging.message.body.size'],
            'messaging.message.id' => $sent['attributes']['messaging.message.id'],
            'messaging.kafka.offset' => 0,
        ], $handled['attributes']);
        self::assertIsString($handled['attributes']['messaging.destination.partition.id']);

        self::assertSame($handled['span'], $next['parent'], 'what the callback sends is its child');
        self::assertSame([1, 1, 1], [$sent['ended'], $handled['ended'], $next['ended']]);
    }

    public function testContinueMakesOneTrace(): void
    {
        [, $sent, $handled] = $this->spans(<<<'PHP'
            $scope = $request->storeInContext(Context::getRoot())->activate();
            Realtime::broadcast('in', 'paid');
            $scope->detach();
            $broker = Realtime::broker();
            $broker->subscribe('in', fn (Message $message) => null);
            $broker->consume(20_000, maxMessages: 1);
            PHP, ['REALTIME_TRACING' => 'continue']);
        self::assertSame($sent['trace'], $handled['trace']);
        self::assertSame($sent['span'], $handled['parent']);
    }

    public function testABatchSpanLinksToEachOfItsMessages(): void
    {
        $spans = $this->spans(<<<'PHP'
            for ($i = 0; $i < 3; $i++) {
                Realtime::broadcast('in', 'paid', $i);
            }
            Realtime::flush();
            $broker = Realtime::broker();
            $broker->subscribeBatch('in', fn (array $messages) => null);
            $broker->consume(20_000, maxMessages: 3);
            PHP);
        $sent = array_slice($spans, 1, 3);
        $lists = array_slice($spans, 4);
        self::assertSame(3, array_sum(array_column(array_column($lists, 'attributes'), 'messaging.batch.message_count')));
        $links = array_merge(...array_column($lists, 'links'));
        self::assertSame(array_column($sent, 'span'), array_column($links, 0));
        foreach ($links as $i => [, $attributes]) {
            self::assertSame($sent[$i]['attributes']['messaging.message.id'], $attributes['messaging.message.id']);
            self::assertSame($i, $attributes['messaging.kafka.offset']);
        }
    }

    public function testAFailureIsRecordedAndEachAttemptHasItsSpan(): void
    {
        $spans = $this->spans(<<<'PHP'
            Realtime::broadcast('in', 'paid');
            $broker = new Broker(['max_retries' => 1, 'retry_backoff_ms' => 1]);
            $broker->subscribe('in', fn (Message $message) => throw new DomainException('no such order'));
            $broker->consume(20_000, maxMessages: 1);
            try {
                $broker->publish('in', Message::event('in', str_repeat('x', 2_000_000)));
            } catch (Toporia\Realtime\Exception\MessageTooLargeException) {
            }
            PHP);
        self::assertCount(5, $spans);
        foreach (array_slice($spans, 2, 2) as $try) {
            self::assertSame('DomainException', $try['attributes']['error.type']);
            self::assertSame(['Error', 'no such order', 1], [$try['status'], $try['exception'], $try['ended']]);
        }
        self::assertSame('Toporia\Realtime\Exception\MessageTooLargeException', $spans[4]['attributes']['error.type']);
        self::assertSame(['Error', 1], [$spans[4]['status'], $spans[4]['ended']]);
    }

    public function testTheCallersOwnContextIsLinked(): void
    {
        $parent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
        [, $sent] = $this->spans(<<<PHP
            Realtime::broadcast('in', 'paid', headers: ['traceparent' => '$parent']);
            PHP);
        self::assertSame([['b7ad6b7169203331', []]], $sent['links']);
        self::assertSame(['traceparent' => $parent], $this->consumeAll($this->channelTopic('in'), 1)[0]->getHeaders());
    }

    public function testTheEnvironmentDisablesIt(): void
    {
        $spans = $this->spans("Realtime::broadcast('in', 'paid');", ['REALTIME_TRACING' => 'off']);
        self::assertSame(['request'], array_column($spans, 'name'));
        self::assertSame([], $this->consumeAll($this->channelTopic('in'), 1)[0]->getHeaders());
    }

    public function testTracingBeginsWhenOpenTelemetryIsSetUp(): void
    {
        $double = var_export(__DIR__ . '/Doubles/autoload.php', true);
        $count = $this->runPhp(<<<PHP
            require $double;
            Realtime::broadcast('in', 'before');
            \$before = class_exists('OpenTelemetry\API\Globals', false);
            OpenTelemetry\API\Globals::\$spans = [];
            Realtime::broadcast('in', 'after');
            Realtime::flush();
            echo json_encode([\$before, count(OpenTelemetry\API\Globals::\$spans)]);
            PHP)->assertExit()->json();
        self::assertSame([false, 1], $count);
    }

    public function testRequiringAMissingOpenTelemetryIsRefused(): void
    {
        $text = $this->runPhp(<<<'PHP'
            try {
                Realtime::configure(['tracing' => true]);
            } catch (Toporia\Realtime\Exception\ConfigurationException $e) {
                echo $e->getMessage();
            }
            PHP)->assertExit()->stdout;
        self::assertStringContainsString('composer require open-telemetry/api', $text);
    }
}
