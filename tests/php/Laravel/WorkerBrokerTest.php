<?php

/**
 * The worker in artisan: handlers from the container, queued handlers, events, the log channel, exit codes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Worker\SimilarChannelWarning;

final class WorkerBrokerTest extends LaravelTestCase
{
    private const ONCE = 'realtime:kafka:consume --stop-when-empty --json';

    public function testTheExamplesWorkerHandlesThePaymentAndReportsIt(): void
    {
        $this->migrate();
        $this->inApp(<<<'PHP'
            $order = App\Models\Order::create(['user_id' => 1, 'total' => 9.5, 'status' => 'placed']);
            event(new App\Events\OrderPlaced($order));
            PHP, ['env' => ['QUEUE_CONNECTION' => 'sync']]);
        $this->realtime("['handlers' => ['order.placed' => App\\Realtime\\TakePayment::class]]");
        $worker = $this->artisan('realtime:kafka:consume --channels=private-user.* --max-messages=1')->assertExit();
        self::assertStringContainsString('Stopped at --max-messages. 1 handled', $worker->stdout, $worker->describe());
        self::assertEqualsCanonicalizing([
            ['private-user.1', 'order.placed', ['id' => 1, 'total' => 9.5]],
            ['private-user.1', 'order.paid', ['id' => 1]],
            ['sales', 'order.paid', ['id' => 1]],
        ], self::summary($this->sent(3)));
        self::assertSame('paid', $this->inApp('return App\Models\Order::find(1)->status;'));
    }

    public function testAHandlerThatImplementsShouldQueueIsQueued(): void
    {
        $this->migrate();
        $this->write('app/Realtime/Later.php', <<<'PHP'
            <?php

            namespace App\Realtime;

            use Illuminate\Contracts\Queue\ShouldQueue;
            use Toporia\Realtime\Message;

            final class Later implements ShouldQueue
            {
                public $queue = 'slow';
                public $tries = 2;

                public function __construct(private \Illuminate\Contracts\Config\Repository $config)
                {
                }

                public function shouldQueue(Message $message): bool
                {
                    return $message->getData()['id'] > 1;
                }

                public function handle(Message $message): void
                {
                    $reported = [$message->getId(), $message->getChannel(), $message->getData(), $message->getKey(),
                        array_map('bin2hex', $message->getHeaders()), $this->config->get('app.name')];
                    file_put_contents(base_path('log'), json_encode($reported) . "\n", FILE_APPEND);
                    throw new \RuntimeException('not today');
                }

                public function failed(Message $message, \Throwable $e): void
                {
                    file_put_contents(base_path('log'), "failed {$message->getId()} {$e->getMessage()}\n", FILE_APPEND);
                }
            }
            PHP);
        $ids = $this->publish('user.1', ['id' => 1], ['id' => 2, 'html' => '<&é']);
        $this->realtime("['handlers' => ['order.*' => App\\Realtime\\Later::class]]");
        $this->artisan(self::ONCE . ' --channels=user.1')->assertExit();
        self::assertFileDoesNotExist("$this->app/log");
        self::assertSame([['slow', 'App\Realtime\Later', 2]], $this->inApp(<<<'PHP'
            return Illuminate\Support\Facades\DB::table('jobs')->get()->map(function ($job) {
                $payload = json_decode($job->payload, true);
                return [$job->queue, $payload['displayName'], $payload['maxTries']];
            });
            PHP));
        $this->artisan('queue:work --queue=slow --stop-when-empty')->assertExit();
        $log = (array) file("$this->app/log", FILE_IGNORE_NEW_LINES);
        $reported = [$ids[1], 'user.1', ['id' => 2, 'html' => '<&é'], 'user.1', ['trace' => 'ff00'], 'Shop'];
        self::assertSame([$reported, $reported], [json_decode($log[0], true), json_decode($log[1], true)]);
        self::assertSame("failed $ids[1] not today", $log[2]);
    }

    public function testEventsAndTheLogReportTheResults(): void
    {
        $this->write('app/Providers/AppServiceProvider.php', <<<'PHP'
            <?php

            namespace App\Providers;

            use Illuminate\Support\Facades\Event;

            final class AppServiceProvider extends \Illuminate\Support\ServiceProvider
            {
                public function boot(): void
                {
                    Event::listen('Toporia\Realtime\Laravel\Events\*', function (string $name, array $events): void {
                        $event = $events[0];
                        $reported = [class_basename($name), $event->message->getData()['id'],
                            isset($event->exception) ? $event->exception->getMessage() : null,
                            isset($event->retryInMs)];
                        file_put_contents(base_path('log'), json_encode($reported) . "\n", FILE_APPEND);
                        if ($reported[0] === 'MessageConsumed') {
                            throw new \LogicException('A listener that fails stops nothing.');
                        }
                    });
                }
            }
            PHP);
        $this->write('app/Realtime/Picky.php', <<<'PHP'
            <?php

            namespace App\Realtime;

            final class Picky
            {
                public function handle(\Toporia\Realtime\Message $message): void
                {
                    if ($message->getData()['id'] === 2) {
                        throw new \DomainException('not 2');
                    }
                }
            }
            PHP);
        $this->publish('user.1', ['id' => 1], ['id' => 2], ['id' => 3]);
        $this->realtime("['max_retries' => 1, 'retry_backoff_ms' => 10]");
        $worker = $this->artisan(self::ONCE . ' --channels=user.1 --handler=App\Realtime\Picky')->assertExit();
        $log = array_map('json_decode', (array) file("$this->app/log", FILE_IGNORE_NEW_LINES));
        self::assertSame([
            ['MessageConsumed', 1, null, false],
            ['MessageFailed', 2, 'not 2', true],
            ['MessageFailed', 2, 'not 2', false],
            ['MessageDeadLettered', 2, 'not 2', false],
            ['MessageConsumed', 3, null, false],
        ], $log, $worker->describe());
        $lines = (string) file_get_contents("$this->app/storage/logs/realtime.log");
        self::assertSame(2, substr_count($lines, 'WARNING: A message failed (attempt '), $lines);
        self::assertSame(1, substr_count($lines, 'ERROR: A message was given up after attempt 2 and is in the dead'));
        $reported = (string) file_get_contents("$this->app/storage/logs/laravel.log");
        self::assertStringContainsString('A listener that fails stops nothing.', $reported);
    }

    public function testNoStateOfAMessageReachesTheNext(): void
    {
        $this->write('app/Realtime/Counter.php', <<<'PHP'
            <?php

            namespace App\Realtime;

            final class Counter
            {
                public int $calls = 0;
            }
            PHP);
        $this->write('app/Realtime/CounterFacade.php', <<<'PHP'
            <?php

            namespace App\Realtime;

            final class CounterFacade extends \Illuminate\Support\Facades\Facade
            {
                protected static function getFacadeAccessor(): string
                {
                    return Counter::class;
                }
            }
            PHP);
        $this->write('app/Providers/AppServiceProvider.php', <<<'PHP'
            <?php

            namespace App\Providers;

            final class AppServiceProvider extends \Illuminate\Support\ServiceProvider
            {
                public function register(): void
                {
                    $this->app->scoped(\App\Realtime\Counter::class);
                }
            }
            PHP);
        $this->write('app/Realtime/Stateful.php', <<<'PHP'
            <?php

            namespace App\Realtime;

            use Illuminate\Support\Facades\App;
            use Illuminate\Support\Facades\Auth;
            use Illuminate\Support\Facades\Log;

            final class Stateful
            {
                public function __construct(private Counter $counter)
                {
                }

                public function handle(\Toporia\Realtime\Message $message): void
                {
                    $id = $message->getData()['id'];
                    Log::info("message $id");
                    $seen = [$this->counter->calls, app(Counter::class)->calls, CounterFacade::getFacadeRoot()->calls,
                        App::getLocale(), Auth::id(), app('auth.driver')->id(), self::context()?->get('leaked')];
                    file_put_contents(base_path('log'), json_encode($seen) . "\n", FILE_APPEND);
                    $this->counter->calls++;
                    App::setLocale('fr');
                    Auth::setUser(new \Illuminate\Auth\GenericUser(['id' => $id]));
                    Log::withContext(['leaked' => $id]);
                    self::context()?->add('leaked', $id);
                }

                /** Since Laravel 11. */
                private static function context(): ?object
                {
                    $class = 'Illuminate\Log\Context\Repository';

                    return class_exists($class) ? app($class) : null;
                }
            }
            PHP);
        $this->publish('user.1', ['id' => 1], ['id' => 2], ['id' => 3]);
        $this->realtime('[]');
        $worker = $this->artisan(self::ONCE . ' --channels=user.1 --handler=App\Realtime\Stateful')->assertExit();
        $clean = [0, 0, 0, 'en', null, null, null];
        $log = array_map('json_decode', (array) file("$this->app/log", FILE_IGNORE_NEW_LINES));
        self::assertSame([$clean, $clean, $clean], $log, $worker->describe());
        $lines = (string) file_get_contents("$this->app/storage/logs/laravel.log");
        self::assertStringContainsString('message 3', $lines);
        self::assertStringNotContainsString('leaked', $lines);
    }

    public function testWithoutDeadLettersNoneIsAnnounced(): void
    {
        $this->write('app/Realtime/Failing.php', <<<'PHP'
            <?php

            namespace App\Realtime;

            final class Failing
            {
                public function handle(\Toporia\Realtime\Message $message): void
                {
                    throw new \DomainException('never');
                }
            }
            PHP);
        $this->publish('user.1', ['id' => 1]);
        $this->realtime("['max_retries' => 0, 'dlq' => false]");
        $this->artisan(self::ONCE . ' --channels=user.1 --handler=App\Realtime\Failing')->assertExit(1);
        $lines = (string) file_get_contents("$this->app/storage/logs/realtime.log");
        self::assertStringContainsString('A message failed (attempt 1, not tried again): never', $lines);
        self::assertStringNotContainsString('given up', $lines);
    }

    public function testWrongUsageIsExitCode2AndAMissingHandlerIsReported(): void
    {
        $this->artisan('realtime:kafka:consume')->assertExit(2);
        $this->artisan('realtime:kafka:consume --channels=user.1 --nonsense')->assertExit(2);
        $said = $this->artisan('realtime:kafka:consume --channels=user.1 --handler=App\Nobody')->assertExit(2);
        self::assertStringContainsString("class 'App\\Nobody' not found", $said->stderr);
        $this->write('app/Realtime/Needy.php', <<<'PHP'
            <?php

            namespace App\Realtime;

            final class Needy
            {
                public function __construct(private \App\Nobody $nobody)
                {
                }

                public function handle(\Toporia\Realtime\Message $message): void
                {
                }
            }
            PHP);
        $said = $this->artisan('realtime:kafka:consume --channels=user.1 --handler=App\Realtime\Needy')->assertExit(2);
        self::assertStringContainsString("Laravel's container cannot create App\\Realtime\\Needy", $said->stderr);
    }

    public function testSigtermAndRestartStopTheWorkerCleanly(): void
    {
        $this->realtime('[]');
        $worker = $this->startArtisan('realtime:kafka:consume --channels=user.1');
        $worker->waitForOutput('/waiting for topic|assigned:/');
        $worker->signal()->wait()->assertExit();
        $worker = $this->startArtisan('realtime:kafka:consume --channels=user.1');
        $worker->waitForOutput('/waiting for topic|assigned:/');
        $this->artisan('realtime:restart')->assertExit();
        self::assertStringContainsString('Stopped by realtime:restart.', $worker->wait()->assertExit()->stdout);
    }

    public function testASignalHandlerOfACommandRunsAfterTheMessage(): void
    {
        $this->write('app/Console/Commands/Listen.php', <<<'PHP'
            <?php

            namespace App\Console\Commands;

            use Toporia\Realtime\Message;
            use Toporia\Realtime\Realtime;

            final class Listen extends \Illuminate\Console\Command
            {
                protected $signature = 'app:listen';

                public function handle(): int
                {
                    $broker = Realtime::broker();
                    $stop = function (int $signal) use ($broker): void {
                        echo "signal $signal\n";
                        $broker->stopConsuming();
                    };
                    pcntl_async_signals(true);
                    // Since Laravel 9.
                    method_exists($this, 'trap') ? $this->trap([SIGTERM], $stop) : pcntl_signal(SIGTERM, $stop);
                    $broker->subscribe('user.1', function (Message $message): void {
                        echo "begun {$message->getData()['id']}\n";
                        for ($until = microtime(true) + 1; microtime(true) < $until;) {
                            usleep(20_000);
                        }
                        Realtime::broadcast('user.2', 'forwarded', $message->getData());
                        echo "done {$message->getData()['id']}\n";
                    });
                    $broker->consume();
                    echo "left\n";
                    return 0;
                }
            }
            PHP);
        $this->write('app/Console/Kernel.php', <<<'PHP'
            <?php

            namespace App\Console;

            final class Kernel extends \Illuminate\Foundation\Console\Kernel
            {
                protected $commands = [Commands\Listen::class];
            }
            PHP);
        $this->publish('user.1', ['id' => 1], ['id' => 2]);
        $this->realtime('[]');
        $worker = $this->startArtisan('app:listen');
        $worker->waitForOutput('/begun 1/');
        $end = $worker->signal()->wait()->assertExit();
        self::assertStringContainsString("begun 1\ndone 1\nsignal 15\nleft\n", $end->stdout, $end->describe());
        self::assertSame([1, 2, 1], array_map(
            static fn (Message $message) => json_decode((string) $message->getPayload(), true)['data']['id'],
            $this->sent(3)
        ));
        $worker = $this->startArtisan('app:listen');
        self::assertSame('2', $worker->waitForOutput('/begun (\d+)/')[1], 'the first one is committed');
        $worker->signal()->wait()->assertExit();
    }

    public function testAnIdleWorkerIsWarnedOfTheSimilarPrivateChannel(): void
    {
        $this->realtime('[]');
        $this->inApp(<<<'PHP'
            foreach (['private-user.1', 'private-other.1'] as $channel) {
                Illuminate\Support\Facades\Broadcast::driver()->broadcast([$channel], 'order.created');
            }
            PHP);
        $worker = $this->startArtisan('realtime:kafka:consume --channels=user.1');
        $worker->waitForOutput('/user\.1 receives nothing, but private-user\.1 has messages: .*--channels=private-user\.1\?/', 30.0);
        self::assertStringNotContainsString('other', $worker->signal()->wait()->assertExit()->stdout);
    }

    public function testTheSimilarChannelIsFoundByItsTopicNameToo(): void
    {
        $broker = $this->broker();
        $broker->publish('private-user.1', Message::event('private-user.1', 'e'));
        $broker->publish('private-other.1', Message::event('private-other.1', 'e'));
        Realtime::flush();
        $admin = new Admin($this->config());
        $find = fn (string ...$channels): array => SimilarChannelWarning::find($admin, $channels, [$this->channelTopic('user.1')]);
        self::assertSame(['private-user.1' => 'user.1'], $find('user.1', 'user.2'));
        self::assertSame([], $find('user.2'));
        $admin->close();
    }

    /**
     * @param array<string, mixed> ...$data of an order each
     *
     * @return list<string> their ids
     */
    private function publish(string $channel, array ...$data): array
    {
        $broker = $this->broker(['topic_strategy' => 'grouped']);
        $ids = array_map(
            static fn (array $one): string => $broker->publish(
                $channel,
                Message::event($channel, 'order.created', $one),
                null,
                ['trace' => "\xff\x00"]
            ),
            $data
        );
        Realtime::flush();

        return $ids;
    }
}
