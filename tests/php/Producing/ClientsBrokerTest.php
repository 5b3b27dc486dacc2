<?php

/**
 * Kafka clients: one per configuration, shared by equal ones, at most eight; and their numbers in stats().
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use Closure;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class ClientsBrokerTest extends ProducingTestCase
{
    public function testNothingConnectsBeforeItIsNeeded(): void
    {
        $code = <<<'PHP'
            Realtime::configure(['brokers' => ['kafka' => ['topic_prefix' => 'x']]]);
            $broker = Realtime::broker();
            $broker->subscribe('user.*', fn () => 1);
            $message = Message::event('user.1', 'e');
            $clients = Realtime::stats()['clients'];
            $threads = count(scandir('/proc/self/task')) - 2;
            echo json_encode([$clients, $threads]);
            PHP;
        self::assertSame([0, 1], $this->runPhp($code)->json());
    }

    public function testEqualConfigurationsShareAClientOthersDoNot(): void
    {
        $code = <<<'PHP'
            $publish = fn (array $config) => (new Broker($config))->publish('c', Message::event('c', 'e'));
            $publish([]);
            $publish(['consumer_group' => 'another', 'max_hops' => 3]);
            Realtime::broadcast('c', 'e');
            $clients['alike'] = Realtime::stats()['clients'];
            $publish(['topic_prefix' => 'other']);
            $clients['another prefix'] = Realtime::stats()['clients'];
            $publish(['application' => 'shop']);
            $clients['another application'] = Realtime::stats()['clients'];
            $publish(['producer_config' => ['linger.ms' => 6]]);
            $clients['another property'] = Realtime::stats()['clients'];
            echo json_encode($clients);
            PHP;
        self::assertSame(
            ['alike' => 1, 'another prefix' => 2, 'another application' => 3, 'another property' => 4],
            $this->runPhp($code)->json()
        );
    }

    public function testAtMostEightClientsWithoutLoss(): void
    {
        $code = <<<'PHP'
            for ($round = 0; $round < 3; $round++) {
                for ($i = 0; $i < 12; $i++) {
                    $broker = new Broker(['application' => "app-$i"]);
                    for ($n = 0; $n < 20; $n++) {
                        $broker->publish('c', Message::event('c', 'e', "$round.$i.$n"));
                    }
                    $most = max($most ?? 0, Realtime::stats()['clients']);
                }
            }
            echo $most;
            PHP;
        $result = $this->runPhp($code)->assertExit();
        self::assertSame('8', $result->stdout);
        $data = array_column($this->envelopes('c', 720), 'data');
        self::assertCount(720, $data);
        self::assertCount(720, array_unique($data));
    }

    public function testManyConfigurationsHoldFewDescriptorsAndLoseNothing(): void
    {
        $code = <<<'PHP'
            $files = static fn () => count(scandir('/proc/self/fd'));
            $before = $files();
            for ($i = 0; $i < 100; $i++) {
                $broker = new Broker(['application' => "app-$i"]);
                $ids[] = $broker->publish('c', Message::event('c', 'e', $i));
                $most = max($most ?? 0, $files() - $before);
            }
            echo json_encode([$most, $ids]);
            PHP;
        [$most] = (array) $this->runPhp($code, ['timeout' => 60.0])->json();
        self::assertLessThan(250, $most, 'descriptors of 24 clients');
        $data = array_column($this->envelopes('c', 100), 'data');
        sort($data);
        self::assertSame(range(0, 99), $data);
        $away = $this->runPhp($code, ['timeout' => 60.0, 'env' => [
            'KAFKA_BROKERS' => $this->deadAddress(), 'REALTIME_SPOOL' => $spool = $this->directory(),
        ]])->assertExit();
        self::assertLessThan(250, $away->json()[0], 'without Kafka');
        self::assertLessThan(25.0, $away->seconds);
        $spooled = implode('', array_map('file_get_contents', glob("$spool/*/*.spool") ?: []));
        foreach ($away->json()[1] as $id) {
            self::assertStringContainsString($id, $spooled);
        }
    }

    public function testBrokersOfTwoConfigurationsReachTheirOwnKafka(): void
    {
        $one = $this->broker(['topic_prefix' => "$this->prefix-one"]);
        $two = $this->broker(['topic_prefix' => "$this->prefix-two"]);
        $one->publish('c', Message::event('c', 'for one'));
        $two->publish('c', Message::event('c', 'for two'));
        $one->publish('c', Message::event('c', 'for one again'));
        Realtime::flush();
        self::assertCount(2, $this->payloads("$this->prefix-one_c", 2));
        self::assertStringContainsString('"for two"', $this->payloads("$this->prefix-two_c")[0]);
    }

    public function testTheKeysOfStats(): void
    {
        $code = <<<'PHP'
            $all['before'] = Realtime::stats();
            $id = Realtime::broadcast('user.1', 'e', 'x', 'key');
            (new Broker(['max_hops' => 8]))->send('raw', 'four', 'abc');
            $all['sent'] = Realtime::stats();
            Realtime::flush();
            $all['flushed'] = Realtime::stats();
            echo json_encode($all);
            PHP;
        $code = str_replace("'raw'", "'" . $this->topic() . "'", $code);
        $stats = (array) $this->runPhp($code)->json();
        self::assertSame([
            'messages_produced' => 0, 'bytes_produced' => 0, 'messages_delivered' => 0, 'delivery_failures' => 0,
            'failures_by_kind' => [], 'queue_full' => 0, 'queued' => 0, 'spooled' => 0, 'spool_messages' => 0,
            'spool_bytes' => 0, 'loop_dropped' => 0, 'clients' => 0,
            'broker_reachable' => false, 'fake' => false, 'last_error' => null,
        ], $stats['before']);
        self::assertSame(2, $stats['sent']['messages_produced']);
        self::assertSame(2, $stats['sent']['queued']);
        $envelope = strlen((string) json_encode(['id' => str_repeat('0', 36), 'type' => 'event', 'channel' => 'user.1',
            'event' => 'e', 'data' => 'x', 'timestamp' => time()]));
        self::assertSame($envelope + strlen('key') + strlen('four') + strlen('abc'), $stats['sent']['bytes_produced']);
        self::assertSame([
            'messages_produced' => 2, 'messages_delivered' => 2, 'delivery_failures' => 0, 'queued' => 0,
            'clients' => 1, 'broker_reachable' => true, 'last_error' => null,
        ], array_intersect_key($stats['flushed'], [
            'messages_produced' => 1, 'messages_delivered' => 1, 'delivery_failures' => 1, 'queued' => 1,
            'clients' => 1, 'broker_reachable' => 1, 'last_error' => 1,
        ]));
    }

    public function testStatsWithoutABroker(): void
    {
        $code = <<<'PHP'
            Realtime::broadcast('user.1', 'e');
            try {
                Realtime::flush(1200);
            } catch (Throwable) {
            }
            $failed = Realtime::stats();
            echo json_encode($failed);
            PHP;
        $stats = (array) $this->runPhp($code, ['env' => [
            'KAFKA_BROKERS' => $this->deadAddress(),
        ], 'ini' => ['toporia_realtime.shutdown_flush_ms' => '0']])->json();
        self::assertSame([1, 0, 1, false], [
            $stats['messages_produced'], $stats['messages_delivered'], $stats['queued'], $stats['broker_reachable'],
        ]);
        self::assertIsString($stats['last_error']);
    }

    public function testTheLastErrorIsTheLatestOfAllClients(): void
    {
        $reasonOf = static fn (Closure $send): string => self::catch(
            DeliveryException::class,
            static function () use ($send): void {
                $send();
                Realtime::flush(5000);
            }
        )->getFailed()[0]['reason'];
        $unreachable = $this->broker(['brokers' => $this->deadAddress(), 'producer_config' => [
            'message.timeout.ms' => 300, 'reconnect.backoff.ms' => 10_000, 'reconnect.backoff.max.ms' => 10_000,
        ]]);
        $reasonOf(static fn () => $unreachable->send('any', 'x'));
        $topic = $this->createTopic($this->topic(), 1);
        $reason = $reasonOf(fn () => $this->broker()->send($topic, 'x', null, [], 99));
        self::assertSame($reason, Realtime::stats()['last_error']);
    }
}
