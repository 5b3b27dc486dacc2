<?php

/**
 * The broadcast driver: names, data, the excluded socket, the public mark, and refused input.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

final class BroadcastBrokerTest extends LaravelTestCase
{
    /** An event with injected channels, name and data. */
    private const EVENT = <<<'PHP'
        namespace App\Events;

        use Illuminate\Broadcasting\InteractsWithSockets;
        use Illuminate\Contracts\Broadcasting\ShouldBroadcastNow;

        final class Told implements ShouldBroadcastNow
        {
            use InteractsWithSockets;

            public $order = ['id' => 7];

            public function __construct(private $channels)
            {
            }

            public function broadcastOn()
            {
                return $this->channels;
            }
        }
        PHP;

    protected function setUp(): void
    {
        parent::setUp();
        $this->write('app/Events/Told.php', "<?php\n\n" . self::EVENT);
    }

    /**
     * Broadcast::on() came with Laravel 11, ShouldRescue with 12; in earlier versions this stands in for them.
     */
    public function testAnonymousEventsAndThoseThatMustNotFail(): void
    {
        $this->write('app/Events/Rescued.php', '<?php

            namespace App\Events;

            final class Rescued implements
                \Illuminate\Contracts\Broadcasting\ShouldBroadcastNow,
                \Illuminate\Contracts\Broadcasting\ShouldRescue
            {
                public $price = NAN;

                public function broadcastOn()
                {
                    return "news";
                }
            }');
        [$version, $has, $rescued] = $this->inApp(<<<'PHP'
            $has = method_exists(Illuminate\Broadcasting\BroadcastManager::class, 'on');
            if ($has) {
                Illuminate\Support\Facades\Broadcast::private('user.1')->as('order.paid')->with(['id' => 7])->sendNow();
                Illuminate\Support\Facades\Broadcast::on('sales')->as('order.paid')->with(['id' => 7])->sendNow();
            }
            $rescued = null;
            if (interface_exists(Illuminate\Contracts\Broadcasting\ShouldRescue::class)) {
                event(new App\Events\Rescued());
                $rescued = str_contains((string) file_get_contents(storage_path('logs/laravel.log')), 'Inf and NaN');
            }
            return [app()->version(), $has, $rescued];
            PHP);
        self::assertSame(version_compare($version, '11', '>='), $has);
        self::assertNotFalse($rescued, 'Reported, and not thrown.');
        if ($has) {
            $messages = $this->sent(2);
            self::assertEqualsCanonicalizing([
                ['private-user.1', 'order.paid', ['id' => 7]],
                ['sales', 'order.paid', ['id' => 7]],
            ], self::summary($messages));
            self::assertContains(['x-realtime-public' => '1'], array_map(
                static fn ($message): array => $message->getHeaders(),
                $messages
            ));
        }
    }

    public function testNamesAndDataAreLaravels(): void
    {
        $this->inApp(<<<'PHP'
            event(new App\Events\Told([
                new Illuminate\Broadcasting\PrivateChannel('user.1'),
                new Illuminate\Broadcasting\PresenceChannel('shop'),
                new Illuminate\Broadcasting\Channel('sales'),
                'news',
            ]));
            PHP);
        $messages = $this->sent(4);
        $reported = self::summary($messages);
        $data = ['order' => ['id' => 7]];
        self::assertEqualsCanonicalizing([
            ['private-user.1', 'App\Events\Told', $data],
            ['presence-shop', 'App\Events\Told', $data],
            ['sales', 'App\Events\Told', $data],
            ['news', 'App\Events\Told', $data],
        ], $reported);
        foreach ($messages as $message) {
            [$channel] = self::summary([$message])[0];
            self::assertSame($channel, $message->getKey(), 'A channel keeps its order.');
            $marked = ['x-realtime-public' => '1'];
            self::assertSame(in_array($channel, ['sales', 'news'], true) ? $marked : [], $message->getHeaders());
        }
    }

    public function testBroadcastAsAndBroadcastWith(): void
    {
        $this->migrate();
        $this->inApp(<<<'PHP'
            $order = App\Models\Order::create(['user_id' => 1, 'total' => 9.5, 'status' => 'placed']);
            event(new App\Events\OrderPaid($order));
            PHP);
        self::assertEqualsCanonicalizing([
            ['private-user.1', 'order.paid', ['id' => 1]],
            ['sales', 'order.paid', ['id' => 1]],
        ], self::summary($this->sent(2)));
    }

    public function testTheSenderIsLeftOut(): void
    {
        $this->inApp(<<<'PHP'
            foreach (['123.456', "1.2\nx", 'nonsense', ''] as $socket) {
                request()->headers->set('X-Socket-ID', $socket);
                broadcast(new App\Events\Told([new Illuminate\Broadcasting\PrivateChannel('user.1')]))->toOthers();
            }
            PHP);
        $headers = array_map(static fn ($message) => $message->getHeaders(), $this->sent(4));
        self::assertSame([['x-realtime-socket' => '123.456'], [], [], []], $headers);
        self::assertSame(['order' => ['id' => 7]], self::summary($this->sent())[0][2], 'The socket is not part of the data.');
    }

    public function testAnEncryptedChannelIsEncryptedHereOrRefused(): void
    {
        $broadcast = <<<'PHP'
            $said = null;
            try {
                event(new App\Events\Told([
                    new Illuminate\Broadcasting\PrivateChannel('user.1'),
                    new Illuminate\Broadcasting\EncryptedPrivateChannel('user.1'),
                ]));
            } catch (Throwable $e) {
                $said = [get_class($e), $e->getMessage()];
            }
            return [$said, Toporia\Realtime\Realtime::stats()['messages_produced']];
            PHP;
        [$said, $count] = $this->inApp($broadcast);
        self::assertSame('Illuminate\Broadcasting\BroadcastException', $said[0]);
        self::assertStringContainsString('encryption_master_key', $said[1]);
        self::assertSame(0, $count, 'Nothing is sent by halves.');

        $this->addEnv(['REALTIME_ENCRYPTION_MASTER_KEY' => base64_encode(random_bytes(32))]);
        self::assertSame([null, 2], $this->inApp($broadcast));
        foreach (self::summary($this->sent(2)) as [$channel, , $data]) {
            $keys = ['private-user.1' => ['order'], 'private-encrypted-user.1' => ['nonce', 'ciphertext']];
            self::assertEqualsCanonicalizing($keys[$channel], array_keys($data));
        }
    }

    public function testAnInvalidPublicChannelStopsThePrivateOneToo(): void
    {
        [$said, $count] = $this->inApp(<<<'PHP'
            $said = null;
            try {
                event(new App\Events\Told([
                    new Illuminate\Broadcasting\PrivateChannel('user.1'),
                    new Illuminate\Broadcasting\Channel("sales\n"),
                ]));
            } catch (Throwable $e) {
                $said = get_class($e);
            }
            return [$said, Toporia\Realtime\Realtime::stats()['messages_produced']];
            PHP);
        self::assertSame('Illuminate\Broadcasting\BroadcastException', $said);
        self::assertSame(0, $count, 'Nothing is sent by halves.');
    }

    public function testOnlyBroadcastExceptionsAreThrown(): void
    {
        $said = $this->inApp(<<<'PHP'
            $answers = [];
            foreach ([["user.1\x00"], ['user.1']] as $i => $channels) {
                try {
                    Illuminate\Support\Facades\Broadcast::driver()->broadcast($channels, 'e', $i === 0 ? [] : ['bad' => "\xff"]);
                } catch (Throwable $e) {
                    $answers[] = [get_class($e), get_class($e->getPrevious())];
                }
            }
            return $answers;
            PHP);
        $is = 'Illuminate\Broadcasting\BroadcastException';
        self::assertSame([
            [$is, 'Toporia\Realtime\Exception\InvalidChannelException'],
            [$is, 'Toporia\Realtime\Exception\EncodingException'],
        ], $said);
    }

    public function testAConnectionMayHaveItsOwnBroker(): void
    {
        $this->write('config/broadcasting.php', <<<PHP
            <?php

            return ['default' => 'reports', 'connections' => [
                'reports' => ['driver' => 'kafka', 'topic_prefix' => '$this->prefix-reports'],
            ]];
            PHP);
        $this->inApp(<<<'PHP'
            request()->headers->set('X-Socket-ID', '1.2');
            broadcast(new App\Events\Told([new Illuminate\Broadcasting\Channel('sales')]))->toOthers();
            PHP);
        $messages = $this->consumeAll("$this->prefix-reports", 1);
        self::assertSame([['sales', 'App\Events\Told', ['order' => ['id' => 7]]]], self::summary($messages));
        self::assertSame(['x-realtime-public' => '1', 'x-realtime-socket' => '1.2'], $messages[0]->getHeaders());
    }

    public function testWithKafkaUnreachableARequestIsNotDelayed(): void
    {
        $this->addEnv(['KAFKA_BROKERS' => '127.0.0.1:1']);
        [$ms, $spool] = $this->inApp(<<<'PHP'
            $start = hrtime(true);
            event(new App\Events\Told([new Illuminate\Broadcasting\PrivateChannel('user.1')]));
            return [(hrtime(true) - $start) / 1e6, storage_path('realtime')];
            PHP);
        self::assertLessThan(100, $ms);
        // The process exited without Kafka: the message waits in the spool.
        self::assertNotSame([], glob("$spool/*"), 'Nothing was spooled.');
    }
}
