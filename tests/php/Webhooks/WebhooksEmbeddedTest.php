<?php

/**
 * realtime:webhooks:send with gateways and a receiver: signed as Pusher signs, once per event, retried, dead-lettered.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Webhooks;

use Toporia\Realtime\Gateway;
use Toporia\Realtime\Tests\Console\ConsoleTestCase;
use Toporia\Realtime\Tests\Gateway\RunsGateways;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class WebhooksEmbeddedTest extends ConsoleTestCase
{
    use RunsGateways;

    private const ALL = [
        'channel_occupied', 'channel_vacated', 'member_added', 'member_removed', 'client_event', 'cache_miss',
        'subscription_count',
    ];

    private string $receiver;
    private ChildProcess $server;

    protected function setUp(): void
    {
        parent::setUp();
        $this->receiver = '127.0.0.1:' . self::freePort();
        // Appends each request to the file `received`, and answers with the status in the file `status`.
        file_put_contents("$this->app/receiver.php", <<<'PHP'
            <?php
            $headers = [
                'key' => $_SERVER['HTTP_X_PUSHER_KEY'] ?? '', 'signature' => $_SERVER['HTTP_X_PUSHER_SIGNATURE'] ?? '',
            ];
            $status = (int) (@file_get_contents(__DIR__ . '/status') ?: 200);
            http_response_code($status);
            file_put_contents(
                __DIR__ . '/received',
                json_encode($headers + ['status' => $status, 'body' => file_get_contents('php://input')]) . "\n",
                FILE_APPEND
            );
            PHP);
        $this->server = new ChildProcess([PHP_BINARY, '-S', $this->receiver, "$this->app/receiver.php"], getenv());
        self::eventually(fn () => is_resource(@stream_socket_client("tcp://$this->receiver")), 'the receiver listens');
    }

    protected function tearDown(): void
    {
        $this->server->destroy();
        $this->stopGateways();
        parent::tearDown();
    }

    public function testEventsOfTwoGatewaysArePostedOnceAndSigned(): void
    {
        $settings = ['webhook_events' => self::ALL];
        [$one, $two] = [$this->gateway($settings), $this->gateway($settings)];
        $senders = [$this->sender(), $this->sender()];
        $this->untilTheSenderReads($one);
        [$ann, $bob] = [$this->client($one), $this->client($two)];
        $ann->subscribe('presence-room', ['user_id' => 'ann']);
        $bob->subscribe('presence-room', ['user_id' => 'bob']);
        // A client event is sent to the gateways that have announced subscribers.
        $ann->event('pusher_internal:member_added');
        self::eventually(
            fn () => count((array) json_decode($this->api($two, 'presence-room'), true)['users']) === 2,
            'both gateways know both members'
        );
        $bob->say('client-typing', ['on' => true], 'presence-room');
        $ann->event('client-typing');
        $ann->subscribe('private-cache-order.7');
        // Read by the other gateway, the miss is not reported a second time.
        self::eventually(
            fn () => array_diff(['cache_miss', 'subscription_count'], array_column($this->events(), 'name')) === [],
            'the miss and the number of subscriptions are posted',
            20.0
        );
        $bob->subscribe('private-cache-order.7');
        $bob->say('pusher:unsubscribe', ['channel' => 'presence-room']);
        $ann->event('pusher_internal:member_removed');
        $ann->say('pusher:unsubscribe', ['channel' => 'presence-room']);

        $room = ['channel' => 'presence-room'];
        $expected = [
            ['name' => 'channel_occupied'] + $room,
            ['name' => 'member_added'] + $room + ['user_id' => 'ann'],
            ['name' => 'member_added'] + $room + ['user_id' => 'bob'],
            ['name' => 'client_event'] + $room + [
                'event' => 'client-typing', 'data' => '{"on":true}', 'socket_id' => $bob->socketId, 'user_id' => 'bob',
            ],
            ['name' => 'channel_occupied', 'channel' => 'private-cache-order.7'],
            ['name' => 'cache_miss', 'channel' => 'private-cache-order.7'],
            ['name' => 'subscription_count', 'channel' => 'private-cache-order.7', 'subscription_count' => 1],
            ['name' => 'subscription_count', 'channel' => 'private-cache-order.7', 'subscription_count' => 2],
            ['name' => 'member_removed'] + $room + ['user_id' => 'bob'],
            ['name' => 'member_removed'] + $room + ['user_id' => 'ann'],
            ['name' => 'channel_vacated'] + $room,
        ];
        self::eventually(fn () => count($this->events()) >= count($expected), 'all events are posted', 30.0);
        usleep(500_000);
        self::assertEqualsCanonicalizing($expected, $this->events());
        foreach ($senders as $sender) {
            $sender->signal()->wait(20.0)->assertExit();
        }
    }

    public function testARefusedWebhookIsSentAgainAndThenDeadLettered(): void
    {
        $gateway = $this->gateway();
        $sender = $this->sender('--retry=3');
        $this->untilTheSenderReads($gateway);
        file_put_contents("$this->app/status", '500');
        $client = $this->client($gateway);
        $client->subscribe('private-order.1');
        self::eventually(fn () => count($this->requests()) >= 2, 'it is sent again', 20.0);
        self::assertSame([], $this->events());
        file_put_contents("$this->app/status", '200');
        self::eventually(fn () => $this->events() !== [], 'it is accepted', 20.0);
        self::assertSame([['name' => 'channel_occupied', 'channel' => 'private-order.1']], $this->events());

        file_put_contents("$this->app/status", '500');
        $client->subscribe('private-order.2');
        self::eventually(fn () => str_contains($sender->stdout(), '"webhook_failed"'), 'it is given up', 30.0);
        file_put_contents("$this->app/status", '200');
        $client->subscribe('private-order.3');
        self::eventually(fn () => count($this->events()) === 2, 'later events are posted', 20.0);
        $summary = $sender->signal()->wait(20.0)->assertExit()->lines();
        self::assertMatchesRegularExpression('/"sent":\d+,"failed":1,/', (string) end($summary));
        $letters = $this->consumeAll("dlq.$this->prefix.__events", 1);
        self::assertStringContainsString('private-order.2', (string) $letters[0]->getPayload());
        self::assertStringContainsString('500', $letters[0]->getHeaders()['x-exception-message']);
    }

    public function testAReceiverThatIsDownDoesNotCauseDuplicatesAtAnother(): void
    {
        $gateway = $this->gateway();
        $down = 'http://127.0.0.1:' . self::freePort();
        $sender = $this->sender("--retry=2 --url=http://$this->receiver --url=$down");
        $this->untilTheSenderReads($gateway);
        self::eventually(
            static fn () => str_contains($sender->stdout(), '"webhook_failed"'),
            'the events of the probe are given up',
            40.0
        );
        $bodies = array_column($this->requests(), 'body');
        self::assertSame($bodies, array_unique($bodies));
        self::assertStringContainsString("$down: ", $sender->stdout());
        $sender->signal()->wait(20.0)->assertExit();
    }

    public function testAKilledSenderIsReplacedAndNothingIsLost(): void
    {
        $gateway = $this->gateway();
        $first = $this->sender();
        $this->untilTheSenderReads($gateway);
        file_put_contents("$this->app/status", '500');
        $client = $this->client($gateway);
        $client->subscribe('private-order.1');
        self::eventually(fn () => str_contains($first->stdout(), '"webhook_retry"'), 'it is retried', 20.0);
        $first->signal(SIGKILL);
        file_put_contents("$this->app/status", '200');
        $client->subscribe('private-order.2');
        $second = $this->sender();
        self::eventually(fn () => count($this->events()) >= 2, 'the second sender posts both', 60.0);
        self::assertSame(['private-order.1', 'private-order.2'], array_column($this->events(), 'channel'));
        $second->signal()->wait(20.0)->assertExit();
    }

    public function testWrongSettingsAreUsageErrors(): void
    {
        $wrong = [
            ['--url=ftp://a/b', [], 'is not a URL of webhooks'],
            ['', ['REALTIME_WEBHOOK_URLS' => null], 'REALTIME_WEBHOOK_URLS'],
            ['--url=http://a/b', ['REALTIME_APP_SECRET' => null], 'REALTIME_APP_SECRET'],
        ];
        foreach ($wrong as [$arguments, $environment, $text]) {
            $result = $this->console(trim("realtime:webhooks:send $arguments"), ['env' => $environment]);
            self::assertSame(2, $result->exitCode, $result->stderr);
            self::assertStringContainsString($text, $result->stderr);
        }
    }

    /** The response of the HTTP API to a query of a channel's users. */
    private function api(Gateway $gateway, string $channel): string
    {
        $path = "/apps/shop/channels/$channel/users";
        $query = 'auth_key=shop-key&auth_timestamp=' . time() . '&auth_version=1.0';
        $signature = hash_hmac('sha256', "GET\n$path\n$query", $this->secret);

        return (string) file_get_contents("http://{$gateway->address()}$path?$query&auth_signature=$signature");
    }

    private function sender(string $arguments = ''): ChildProcess
    {
        $words = preg_split('/ /', trim("realtime:webhooks:send --json $arguments")) ?: [];

        return $this->startConsole($words, [
            'cwd' => $this->app, 'env' => ['REALTIME_WEBHOOK_URLS' => "http://$this->receiver/webhooks"],
        ]);
    }

    /**
     * Toggles a channel until a webhook arrives: the first start of a sender begins with new events.
     */
    private function untilTheSenderReads(Gateway $gateway): void
    {
        $client = $this->client($gateway);
        self::eventually(function () use ($client): bool {
            $client->subscribe('private-probe');
            $client->say('pusher:unsubscribe', ['channel' => 'private-probe']);

            return $this->requests() !== [];
        }, 'the sender reads the topic', 40.0);
        // Events arrive in their order, but a channel that is vacated immediately may have none: this one is held.
        $channel = 'private-probe-last';
        $hasArrived = fn (string $name): bool => str_contains(
            implode(array_column($this->requests(), 'body')),
            "{\"name\":\"$name\",\"channel\":\"$channel\""
        );
        $client->subscribe($channel);
        self::eventually(static fn (): bool => $hasArrived('channel_occupied'), 'the last probe arrives', 20.0);
        $client->say('pusher:unsubscribe', ['channel' => $channel]);
        self::eventually(static fn (): bool => $hasArrived('channel_vacated'), 'its end arrives', 20.0);
    }

    /** @return list<array{key: string, signature: string, status: int, body: string}> */
    private function requests(): array
    {
        $lines = is_file("$this->app/received") ? (array) file("$this->app/received", FILE_IGNORE_NEW_LINES) : [];

        // The receiver may be writing the last line.
        $requests = array_map(static fn (string $line): mixed => json_decode($line, true), $lines);

        return array_values(array_filter($requests, is_array(...)));
    }

    /**
     * The accepted events, without those of the probe; every signature is checked.
     *
     * @return list<array<string, mixed>>
     */
    private function events(): array
    {
        $events = [];
        foreach ($this->requests() as $request) {
            self::assertSame('shop-key', $request['key']);
            self::assertSame(hash_hmac('sha256', $request['body'], $this->secret), $request['signature']);
            $body = json_decode($request['body'], true);
            self::assertEqualsWithDelta(microtime(true) * 1000, $body['time_ms'], 60_000);
            if ($request['status'] === 200) {
                array_push($events, ...$body['events']);
            }
        }

        $own = static fn (array $event): bool => !str_starts_with($event['channel'], 'private-probe');

        return array_values(array_filter($events, $own));
    }
}
