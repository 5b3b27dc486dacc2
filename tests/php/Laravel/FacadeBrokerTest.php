<?php

/**
 * The facade: broadcasts after the commit, and the fake that the driver and the helpers use too.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use PHPUnit\Framework\Attributes\DataProvider;

final class FacadeBrokerTest extends LaravelTestCase
{
    public function testAfterCommitARolledBackOrderIsNotAnnounced(): void
    {
        $this->migrate();
        $this->inApp(<<<'PHP'
            $broadcast = fn (string $event, $data = null) => \Realtime::afterCommit()->broadcast('user.1', $event, $data);
            $broadcast('without a transaction');
            try {
                Illuminate\Support\Facades\DB::transaction(function () use ($broadcast) {
                    $broadcast('rolled back');
                    throw new Exception();
                });
            } catch (Exception $e) {
            }
            Illuminate\Support\Facades\DB::transaction(function () use ($broadcast) {
                $order = App\Models\Order::create(['user_id' => 1, 'total' => 1, 'status' => 'placed']);
                $broadcast('committed', $order);
                $order->status = 'changed later';
                Illuminate\Support\Facades\DB::transaction(fn () => $broadcast('nested'));
                $broadcast('empty', new stdClass());
                assert(Toporia\Realtime\Realtime::stats()['messages_produced'] === 1);
            });
            \Realtime::flush();
            PHP);
        $reported = $this->sent(4);
        $order = ['user_id' => 1, 'total' => 1, 'status' => 'placed', 'id' => 1];
        self::assertEqualsCanonicalizing([
            ['user.1', 'without a transaction', null],
            ['user.1', 'committed', $order],
            ['user.1', 'nested', null],
            ['user.1', 'empty', []],
        ], self::summary($reported));
        self::assertCount(1, array_filter($reported, static fn ($m) => str_contains((string) $m->getPayload(), '"data":{}')));
    }

    public function testAfterCommitAnUnsendableBroadcastIsRefusedInsideTheTransaction(): void
    {
        $this->migrate();
        self::assertSame([0, 0], $this->inApp(<<<'PHP'
            $orders = [];
            foreach ([['user.1', 'e', "\xff"], [[], 'e']] as $broadcast) {
                try {
                    Illuminate\Support\Facades\DB::transaction(function () use ($broadcast) {
                        App\Models\Order::create(['user_id' => 1, 'total' => 1, 'status' => 'placed']);
                        \Realtime::afterCommit()->broadcast(...$broadcast);
                    });
                } catch (Toporia\Realtime\Exception\EncodingException | Toporia\Realtime\Exception\InvalidChannelException) {
                    $orders[] = App\Models\Order::count();
                }
            }
            return $orders;
            PHP));
    }

    /** @dataProvider withAndWithoutTheExtension */
    #[DataProvider('withAndWithoutTheExtension')]
    public function testTheFakeRecordsDriverFacadeAndHelpers(bool $extension): void
    {
        $this->addEnv(['KAFKA_BROKERS' => '127.0.0.1:1']);
        $this->migrate();
        $answer = $this->inApp(<<<'PHP'
            $fake = \Realtime::fake();
            $order = App\Models\Order::create(['user_id' => 1, 'total' => 9.5, 'status' => 'placed']);
            event(new App\Events\OrderPaid($order));
            \Realtime::broadcast('user.1', 'by.facade');
            Toporia\Realtime\broadcast('user.1', 'by.helper');
            app(Toporia\Realtime\Contract\Publisher::class)
                ->publish('user.1', Toporia\Realtime\Message::event('user.1', 'by.container'));
            \Realtime::assertBroadcast('private-user.1', 'order.paid', fn ($m) => $m->getData() === ['id' => 1]);
            \Realtime::assertBroadcast('sales', 'order.paid');
            foreach (['by.facade', 'by.helper', 'by.container'] as $event) {
                $fake->assertBroadcastTimes('user.1', $event, 1);
            }
            \Realtime::assertNotBroadcast('user.2');
            try {
                \Realtime::assertBroadcast('user.2', 'order.paid');
            } catch (Throwable $e) {
                return [extension_loaded('toporia_realtime'), $e->getMessage()];
            }
            PHP, ['extension' => $extension]);
        self::assertSame($extension, $answer[0]);
        self::assertStringContainsString("Expected 'order.paid' on 'user.2', but it was not broadcast.", $answer[1]);
        self::assertStringContainsString('private-user.1', $answer[1], 'It says what was broadcast instead.');
    }

    /** @return array<string, array{bool}> */
    public static function withAndWithoutTheExtension(): array
    {
        return ['with the extension' => [true], 'without' => [false]];
    }

    public function testWithoutTheExtensionABroadcastNamesTheRemedy(): void
    {
        $said = $this->inApp(<<<'PHP'
            try {
                Illuminate\Support\Facades\Broadcast::driver()->broadcast(['user.1'], 'e');
            } catch (Illuminate\Broadcasting\BroadcastException $e) {
                return [get_class($e->getPrevious()), $e->getMessage()];
            }
            PHP, ['extension' => false]);
        self::assertSame('Toporia\Realtime\Exception\ExtensionMissingException', $said[0]);
        self::assertStringContainsString('toporia_realtime', $said[1]);
    }

    public function testAnAssertionWithoutAFakeIsReported(): void
    {
        self::assertStringContainsString('call Realtime::fake() first', $this->inApp(<<<'PHP'
            try {
                \Realtime::assertNothingBroadcast();
            } catch (BadMethodCallException $e) {
                return $e->getMessage();
            }
            PHP));
    }
}
