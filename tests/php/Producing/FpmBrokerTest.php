<?php

/**
 * PHP-FPM with Debian's configuration: the messages of every request are delivered, even if the worker is stopped.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

final class FpmBrokerTest extends ProducingTestCase
{
    private ?FpmServer $server = null;

    protected function tearDown(): void
    {
        $this->server?->stop();
        $this->server = null;
        parent::tearDown();
    }

    public function testMessagesOfEachRequestAreDeliveredAndTheResponseDoesNotWait(): void
    {
        $server = $this->serve('echo Realtime::broadcast("web", "e", (int) $_GET["n"]);');
        $ids = [];
        $times = [];
        for ($n = 0; $n < 60; $n++) {
            [$ids[$n], $times[]] = $server->request("n=$n") ?? ['', 99];
        }
        // SIGTERM: no module shutdown, so everything must be sent at the end of its request.
        $server->stop();
        sort($times);
        self::assertLessThan(0.1, $times[57], 'the 95th percentile of the answers, in seconds');
        $envelopes = $this->envelopes('web', 60);
        self::assertEqualsCanonicalizing($ids, array_column($envelopes, 'id'));
        self::assertCount(60, array_unique($ids));
        self::assertStringNotContainsString('toporia_realtime', $server->log());
    }

    public function testTheEnvironmentIsThePools(): void
    {
        $server = $this->serve(
            'echo json_encode([getenv("KAFKA_TOPIC_PREFIX"), Realtime::broadcast("web", "e")]);',
            ['KAFKA_TOPIC_PREFIX' => "$this->prefix-pool"]
        );
        [$prefix, $id] = json_decode($server->request()[0] ?? '', true);
        self::assertSame("$this->prefix-pool", $prefix);
        self::assertStringContainsString($id, $this->payloads("$this->prefix-pool_web")[0]);
    }

    public function testTheIniOfThePoolAndTwoApplicationsInIt(): void
    {
        $server = $this->serve(
            '$app = $_GET["app"] ?? null;'
            . 'if ($app) { Realtime::configure(["topic_prefix" => $app, "application" => $app]); }'
            . 'echo json_encode([Realtime::broadcast("web", "e"), Realtime::stats()["clients"], getmypid()]);',
            [],
            ['toporia_realtime.topic_prefix' => "$this->prefix-ini"],
            1
        );
        $answers = [];
        foreach (['', "app=$this->prefix-a", '', "app=$this->prefix-b", "app=$this->prefix-a"] as $query) {
            $answers[] = json_decode($server->request($query)[0] ?? '', true);
        }
        self::assertSame([1, 2, 2, 3, 3], array_column($answers, 1), 'each has its client, and keeps it');
        self::assertCount(1, array_unique(array_column($answers, 2)), 'in the same worker');
        self::assertCount(2, $this->payloads("$this->prefix-ini_web", 2));
        self::assertCount(2, $this->payloads("$this->prefix-a_web", 2));
        self::assertCount(1, $this->payloads("$this->prefix-b_web", 1));
    }

    public function testRecycledWorkersLoseNothing(): void
    {
        $server = $this->serve('echo Realtime::broadcast("web", "e");', [], [], 2, 'pm.max_requests = 3');
        $ids = [];
        for ($n = 0; $n < 30; $n++) {
            $ids[] = $server->request()[0] ?? '';
        }
        $server->stop();
        self::assertEqualsCanonicalizing($ids, array_column($this->envelopes('web', 30), 'id'));
        self::assertStringNotContainsString('SIG', $server->log());
    }

    public function testAFailedRequestKeepsItsSentMessages(): void
    {
        $server = $this->serve(
            'Realtime::broadcast("web", $_GET["how"]);'
            . '$broker = Realtime::broker(); $broker->subscribe("x", fn () => $broker);'
            . 'match ($_GET["how"]) { "exit" => exit(1), "throw" => throw new Exception("x"),'
            . '"fatal" => (function () { ini_set("memory_limit", "8M"); $x = str_repeat("x", 1 << 25); })() };',
            [],
            [],
            1
        );
        foreach (['exit', 'throw', 'fatal', 'exit'] as $how) {
            self::assertNotNull($server->request("how=$how"), "$how: the worker went away: " . $server->log());
        }
        self::assertSame(['exit', 'throw', 'fatal', 'exit'], array_column($this->envelopes('web', 4), 'event'));
    }

    public function testWithoutABrokerRequestsStayFastAndEachLossIsLogged(): void
    {
        $server = $this->serve(
            'echo Realtime::broadcast("web", "e");',
            ['KAFKA_BROKERS' => $this->deadAddress()],
            ['toporia_realtime.request_flush_ms' => '300', 'toporia_realtime.shutdown_flush_ms' => '500'],
            1,
            "pm.max_requests = 20\n"
        );
        $times = [];
        for ($n = 0; $n < 19; $n++) {
            [$ids[], $times[]] = $server->request() ?? ['', 99];
        }
        self::assertLessThan(0.8, $times[1], 'the one after the first may find the worker still waiting');
        sort($times);
        self::assertLessThan(0.1, $times[17], 'all others find it free at once');
        // The 20th request ends the worker: its pending messages are reported.
        $ids[] = $server->request()[0] ?? '';
        self::eventually(
            static fn () => array_filter($ids, static fn (string $id) => !str_contains($server->log(), $id)) === [],
            'every lost message is in the error log'
        );
    }

    /**
     * @param array<string, string> $environment
     * @param array<string, string> $ini
     */
    private function serve(
        string $code,
        array $environment = [],
        array $ini = [],
        int $workers = 2,
        string $more = ''
    ): FpmServer {
        $environment += ['KAFKA_BROKERS' => self::address()]
            + (isset($ini['toporia_realtime.topic_prefix']) ? [] : ['KAFKA_TOPIC_PREFIX' => $this->prefix]);

        return $this->server = new FpmServer(
            $this->directory(),
            self::extension(),
            $code,
            $environment,
            $ini,
            $workers,
            $more
        );
    }
}
