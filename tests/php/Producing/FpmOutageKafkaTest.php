<?php

/**
 * PHP-FPM that is reloaded under load, or loses Kafka: no message is lost, no crash, requests stay fast.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Toporia\Realtime\Diagnostics\SpoolState;
use Toporia\Realtime\Tests\Support\ChildProcess;
use Toporia\Realtime\Tests\Support\KafkaNode;

final class FpmOutageKafkaTest extends ProducingTestCase
{
    private ?FpmServer $server = null;
    private ?KafkaNode $node = null;

    protected function tearDown(): void
    {
        $this->server?->stop();
        $this->node?->stop();
        $this->server = $this->node = null;
        parent::tearDown();
    }

    public function testReloadsUnderLoadLoseNothing(): void
    {
        KafkaNode::createTopic(self::address(), $this->channelTopic('web'), 3);
        $directory = $this->directory();
        $this->server = $this->serve($directory, ['KAFKA_BROKERS' => self::address()], 3);
        $stop = "$directory/stop";
        $clients = array_map(fn () => $this->client($directory, $stop), range(1, 3));
        $responses = static fn (): int => array_sum(array_map(
            static fn (ChildProcess $client): int => substr_count($client->stdout(), "\n"),
            $clients
        ));
        for ($reload = 0; $reload < 5; $reload++) {
            $before = $responses();
            self::eventually(static fn (): bool => $responses() >= $before + 30, 'requests are served', 30.0);
            if ($reload < 4) {
                $this->server->signal(12);
            }
        }
        touch($stop);
        $answered = [];
        foreach ($clients as $client) {
            array_push($answered, ...$client->wait()->assertExit()->lines());
        }
        $this->server->stop();
        self::assertGreaterThanOrEqual(150, count($answered), 'requests went on');
        $delivered = array_column($this->envelopes('web', count($answered)), 'id');
        self::assertSame([], array_values(array_diff($answered, $delivered)), 'answered and not delivered');
        self::assertGreaterThanOrEqual(4, substr_count($this->server->log(), 'ready to handle connections') - 1);
        self::assertStringNotContainsString('SIGSEGV', $this->server->log());
        self::assertStringNotContainsString('SIGABRT', $this->server->log());
    }

    public function testWithKafkaStoppedRequestsStayFastAndTheSpoolKeepsTheMessages(): void
    {
        $this->node = KafkaNode::start();
        KafkaNode::createTopic($this->node->address, $this->channelTopic('web'));
        $directory = $this->directory();
        mkdir("$directory/spool");
        chmod("$directory/spool", 0777);
        $this->server = $this->serve(
            $directory,
            ['KAFKA_BROKERS' => $this->node->address, 'REALTIME_SPOOL' => "$directory/spool"],
            2
        );
        $ids = [];
        $request = function () use (&$ids): float {
            [$id, $seconds] = $this->server?->request() ?? ['', 99.0];
            self::assertMatchesRegularExpression('/\A[0-9a-f-]{36}\z/', $id, (string) $this->server?->log());
            $ids[] = $id;

            return $seconds;
        };
        for ($i = 0; $i < 20; $i++) {
            $request();
        }
        $this->node->kill();
        $times = [];
        for ($i = 0; $i < 200; $i++) {
            $times[] = $request();
        }
        $first = array_splice($times, 0, 4);
        self::assertLessThan(1.2, max($first), 'each worker waits for one flush, once');
        sort($times);
        self::assertLessThan(0.1, $times[(int) (count($times) * 0.95)], 'the 95th percentile, in seconds');
        $waiting = static fn (): int => (new SpoolState("$directory/spool"))->messages;
        self::assertGreaterThan(0, $waiting(), 'what is not acknowledged is on disk');

        $this->node->restart();
        $deadline = microtime(true) + 30.0;
        do {
            $request();
            usleep(100_000);
        } while ($waiting() > 0 && microtime(true) < $deadline);
        self::assertSame(0, $waiting(), 'the spool is sent: ' . $this->server->log());
        $this->server->stop();

        $found = [];
        $broker = $this->broker(['brokers' => $this->node->address]);
        $broker->subscribeTopic($this->channelTopic('web'), static function ($message) use (&$found): void {
            $found[] = json_decode((string) $message->getPayload(), true)['id'];
        });
        $broker->consume(500, 1000, 0, true);
        $broker->close();
        self::assertSame([], array_values(array_diff($ids, $found)), 'lost');
        self::assertStringNotContainsString('SIG', $this->server->log(), 'no worker crashed');
    }

    /** With the default process_control_timeout of 0, SIGKILL follows SIGTERM immediately, or after a second. */
    public function testStoppedOrReloadedWhileKafkaIsAwayNothingVanishes(): void
    {
        $this->node = KafkaNode::start();
        KafkaNode::createTopic($this->node->address, $this->channelTopic('web'));
        $directory = $this->directory();
        chmod($directory, 0777);
        mkdir("$directory/spool");
        chmod("$directory/spool", 0777);
        $spooled = [];
        foreach (['stop' => 15, 'reload' => 12] as $how => $signal) {
            foreach ([true, false] as $hasSpool) {
                $case = $how . ($hasSpool ? ' with a spool' : ' without a spool');
                $this->node->continue();
                $place = "$directory/$how-" . ($hasSpool ? 'spool' : 'none');
                mkdir($place);
                $environment = ['KAFKA_BROKERS' => $this->node->address];
                $environment += $hasSpool ? ['REALTIME_SPOOL' => "$directory/spool"] : [];
                $this->server = $this->serve($place, $environment, 2);
                for ($i = 0; $i < 10; $i++) {
                    self::assertSame(36, strlen($this->server->request()[0] ?? ''), $case);
                }
                usleep(100_000);
                $this->node->pause();
                $ids = [];
                for ($i = 0; $i < 10; $i++) {
                    $ids[] = $this->server->request()[0] ?? 'no response';
                }
                if (!$hasSpool && $how === 'stop') {
                    // SIGKILL comes within a millisecond: only what has been written before is in the log.
                    usleep(700_000);
                }
                $slow = $how === 'reload' || $hasSpool ? $this->slowRequest($place) : null;
                $this->server->signal($signal);
                usleep(1_500_000);
                if ($slow !== null) {
                    $ids[] = (string) file_get_contents("$place/id");
                    $slow->destroy();
                }
                $this->server->stop();
                $log = $this->server->log();
                $found = implode('', array_map('file_get_contents', glob("$directory/spool/*/*.spool") ?: []));
                foreach ($ids as $id) {
                    self::assertSame(36, strlen($id), $case);
                    self::assertTrue(
                        str_contains($hasSpool ? $found : $log, $id),
                        "$case: $id was neither spooled nor named\n" . $log
                    );
                }
                $spooled = $hasSpool ? [...$spooled, ...$ids] : $spooled;
            }
        }
        $this->node->continue();
        $this->runPhp(
            'Realtime::broadcast("other", "e"); Realtime::flush(20_000);'
            . 'for ($i = 0; Realtime::stats()["spool_bytes"] > 0 && $i < 2000; $i++) { usleep(10_000); }',
            ['env' => ['KAFKA_BROKERS' => $this->node->address, 'REALTIME_SPOOL' => "$directory/spool"]]
        )->assertExit();
        $arrived = [];
        $broker = $this->broker(['brokers' => $this->node->address]);
        $broker->subscribeTopic($this->channelTopic('web'), static function ($message) use (&$arrived): void {
            $arrived[] = json_decode((string) $message->getPayload(), true)['id'];
        });
        $broker->consume(500, 1000, 0, true);
        $broker->close();
        self::assertSame([], array_values(array_diff($spooled, $arrived)), 'spooled and never sent');
    }

    /** A request that has sent its message and goes on. */
    private function slowRequest(string $directory): ChildProcess
    {
        $child = $this->startPhp(<<<'PHP'
            Toporia\Realtime\Tests\Producing\FpmServer::ask("$argv[1]/fpm.sock", "$argv[1]/index.php", 'slow');
            PHP, ['args' => [$directory], 'extension' => false]);
        for ($i = 0; $i < 100 && !file_exists("$directory/id"); $i++) {
            usleep(20_000);
            clearstatcache();
        }
        usleep(20_000);

        return $child;
    }

    /** @param array<string, string> $environment */
    private function serve(string $directory, array $environment, int $workers): FpmServer
    {
        $code = 'echo $id = Realtime::broadcast("web", "e", str_repeat("x", 200));'
            . 'if ($_SERVER["QUERY_STRING"] === "slow") { file_put_contents(__DIR__ . "/id", $id); sleep(3); }';
        $environment += ['KAFKA_TOPIC_PREFIX' => $this->prefix];

        return new FpmServer($directory, self::extension(), $code, $environment, [], $workers);
    }

    /** A process that sends requests and prints each returned id, until that file exists. */
    private function client(string $directory, string $stop): ChildProcess
    {
        return $this->startPhp(<<<'PHP'
            $request = [Toporia\Realtime\Tests\Producing\FpmServer::class, 'ask'];
            while (!file_exists($argv[2])) {
                $response = $request("$argv[1]/fpm.sock", "$argv[1]/index.php", '');
                if ($response !== null && strlen($response[0]) === 36) {
                    echo $response[0], "\n";
                }
                usleep(2000);
                clearstatcache();
            }
            PHP, ['args' => [$directory, $stop], 'extension' => false]);
    }
}
