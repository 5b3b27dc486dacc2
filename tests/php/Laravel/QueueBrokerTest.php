<?php

/**
 * Broadcasts in queue jobs: acknowledged before the job is deleted, retried while Kafka is unreachable.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use Toporia\Realtime\Tracing\Tracing;

final class QueueBrokerTest extends LaravelTestCase
{
    protected function setUp(): void
    {
        parent::setUp();
        $this->migrate();
    }

    public function testAnEventThatIsQueuedIsBroadcastByTheWorker(): void
    {
        $this->placeOrder();
        self::assertSame(1, $this->jobs());
        $this->artisan('queue:work --once')->assertExit();
        self::assertSame(0, $this->jobs());
        self::assertSame([['private-user.1', 'order.placed', ['id' => 1, 'total' => 9.5]]], self::summary($this->sent()));
    }

    public function testAWorkerKilledRightAfterTheJobIsDeletedHasSentTheMessage(): void
    {
        // The moment after the deletion is committed, before anything else runs: the worst possible one.
        $this->write('app/Providers/AppServiceProvider.php', <<<'PHP'
            <?php

            namespace App\Providers;

            use Illuminate\Database\Events\QueryExecuted;
            use Illuminate\Database\Events\TransactionCommitted;
            use Illuminate\Support\Facades\Event;

            final class AppServiceProvider extends \Illuminate\Support\ServiceProvider
            {
                public function boot(): void
                {
                    $deleted = false;
                    Event::listen(QueryExecuted::class, function (QueryExecuted $query) use (&$deleted): void {
                        $deleted = $deleted || str_starts_with($query->sql, 'delete from "jobs"');
                    });
                    Event::listen(TransactionCommitted::class, function () use (&$deleted): void {
                        if ($deleted) {
                            posix_kill(posix_getpid(), SIGKILL);
                        }
                    });
                }
            }
            PHP);
        $this->placeOrder();
        $worker = $this->artisan('queue:work --stop-when-empty');
        self::assertSame(SIGKILL, $worker->signal, $worker->describe());
        self::assertSame(0, $this->jobs());
        self::assertSame([['private-user.1', 'order.placed', ['id' => 1, 'total' => 9.5]]], self::summary($this->sent()));
    }

    public function testAJobThatBroadcastsWhileTheWorkerIsStoppedIsFinished(): void
    {
        $this->migrate();
        $this->write('app/Jobs/Slow.php', <<<'PHP'
            <?php

            namespace App\Jobs;

            use Toporia\Realtime\Realtime;

            final class Slow implements \Illuminate\Contracts\Queue\ShouldQueue
            {
                use \Illuminate\Bus\Queueable;
                use \Illuminate\Queue\InteractsWithQueue;

                public function handle(): void
                {
                    Realtime::broadcast('news', 'begun');
                    Realtime::flush();
                    echo "the job runs\n";
                    for ($until = microtime(true) + 1.5; microtime(true) < $until;) {
                        usleep(20_000);
                    }
                    Realtime::broadcast('news', 'done');
                }
            }
            PHP);
        $this->inApp('dispatch(new App\Jobs\Slow()); dispatch(new App\Jobs\Slow());');
        $worker = $this->startArtisan('queue:work');
        $worker->waitForOutput('/the job runs/');
        $worker->signal()->wait()->assertExit();
        self::assertSame(1, $this->jobs(), 'the second one is left');
        self::assertSame([['news', 'begun', null], ['news', 'done', null]], self::summary($this->sent(2)));
    }

    public function testWithKafkaUnreachableTheJobIsRetried(): void
    {
        $this->placeOrder();
        $this->connection("['driver' => 'kafka', 'brokers' => '127.0.0.1:1', 'topic_prefix' => '$this->prefix', "
            . "'spool' => false, 'shutdown_flush_ms' => 100, 'ack_timeout_ms' => 300]");
        $worker = $this->artisan('queue:work --once --tries=3')->assertExit();
        self::assertSame(1, $this->jobs(), $worker->describe());
        $log = (string) file_get_contents("$this->app/storage/logs/laravel.log");
        self::assertStringContainsString('BroadcastException(code: 0): Kafka: ', $log);
        self::assertStringContainsString('Is Kafka running at 127.0.0.1:1?', $log);

        $this->connection("['driver' => 'kafka']");
        $this->artisan('queue:work --once --tries=3')->assertExit();
        self::assertSame(0, $this->jobs());
        self::assertSame([['private-user.1', 'order.placed', ['id' => 1, 'total' => 9.5]]], self::summary($this->sent()));
    }

    public function testTheSyncConnectionDelaysNoRequest(): void
    {
        $this->addEnv(['QUEUE_CONNECTION' => 'sync', 'KAFKA_BROKERS' => '127.0.0.1:1']);
        $ms = $this->inApp(<<<'PHP'
            $order = App\Models\Order::create(['user_id' => 1, 'total' => 9.5, 'status' => 'placed']);
            $start = hrtime(true);
            event(new App\Events\OrderPlaced($order));
            return (hrtime(true) - $start) / 1e6;
            PHP);
        self::assertLessThan(1000, $ms, 'At most the bounded flush after the job.');
    }

    public function testAWorkerWaitsInBoundedTimeForOtherMessagesOfItsJobs(): void
    {
        $this->addEnv(['KAFKA_BROKERS' => '127.0.0.1:1']);
        $this->write('app/Jobs/Helper.php', <<<'PHP'
            <?php

            namespace App\Jobs;

            final class Helper implements \Illuminate\Contracts\Queue\ShouldQueue
            {
                use \Illuminate\Foundation\Bus\Dispatchable;

                public function handle(): void
                {
                    \Toporia\Realtime\broadcast('user.1', 'e');
                    file_put_contents(base_path('times'), hrtime(true) . "\n", FILE_APPEND);
                }
            }
            PHP);
        $this->inApp('foreach ([1, 2, 3, 4] as $i) { App\Jobs\Helper::dispatch(); }');
        $this->realtime("['shutdown_flush_ms' => 100]");
        $this->artisan('queue:work --stop-when-empty')->assertExit();
        $times = array_map('intval', (array) file("$this->app/times"));
        self::assertCount(4, $times);
        $gaps = [($times[1] - $times[0]) / 1e6, ($times[3] - $times[1]) / 1e6];
        self::assertGreaterThan(400, $gaps[0], 'After the first job it waits.');
        self::assertLessThan(400, $gaps[1], 'After that it does not, until Kafka answers.');
        $log = (string) file_get_contents("$this->app/storage/logs/realtime.log");
        self::assertSame(1, substr_count($log, 'Kafka has not acknowledged everything'), $log);
    }

    public function testAQueuedBroadcastBelongsToTheTraceThatQueuedIt(): void
    {
        $this->write('app/Trace.php', <<<'PHP'
            <?php

            namespace App;

            final class Trace
            {
                public static array $now = [];

                public function __invoke(): array
                {
                    return self::$now;
                }
            }
            PHP);
        $this->realtime("['tracing' => 'App\\\\Trace']");
        $trace = ['traceparent' => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'baggage' => 'tenant=7'];
        $this->inApp('App\Trace::$now = ' . var_export($trace, true) . ';'
            . '$order = App\Models\Order::create(["user_id" => 1, "total" => 9.5, "status" => "placed"]);'
            . 'event(new App\Events\OrderPlaced($order));');
        self::assertSame(1, $this->jobs());
        $this->artisan('queue:work --once')->assertExit();
        self::assertSame($trace, Tracing::context($this->sent()[0]));
    }

    private function placeOrder(): void
    {
        $this->inApp(<<<'PHP'
            $order = App\Models\Order::create(['user_id' => 1, 'total' => 9.5, 'status' => 'placed']);
            event(new App\Events\OrderPlaced($order));
            PHP);
    }

    private function jobs(): int
    {
        return $this->inApp("return Illuminate\\Support\\Facades\\DB::table('jobs')->count();");
    }

    /** @param string $entry PHP code */
    private function connection(string $entry): void
    {
        $this->write('config/broadcasting.php', "<?php\n\nreturn ['default' => 'kafka', 'connections' => "
            . "['kafka' => $entry]];\n");
    }
}
