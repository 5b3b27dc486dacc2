<?php

/**
 * Admin on the embedded broker: unsupported calls are refused, and temporary faults are waited out.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Admin;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Admin;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\InvalidChannelException;

final class AdminEmbeddedTest extends AdminTestCase
{
    /** @dataProvider calls */
    #[DataProvider('calls')]
    public function testUnsupportedCallsAreRefused(callable $call): void
    {
        $topic = $this->filled([1]);
        $e = self::thrown(ConfigurationException::class, fn () => $call($this->admin, $topic));
        self::assertStringContainsString('the embedded broker has no admin API', $e->getMessage());
        self::assertSame([0 => ['0-0']], $this->readAll($topic));
    }

    /** @return array<string, array{callable}> */
    public static function calls(): array
    {
        return [
            'deleteTopic' => [static fn (Admin $admin, string $topic) => $admin->deleteTopic($topic)],
            'deleteRecords' => [static fn (Admin $admin, string $topic) => $admin->deleteRecords($topic, [0 => 1])],
            'offsetsAt' => [static fn (Admin $admin, string $topic) => $admin->offsetsAt($topic, 0)],
        ];
    }

    public function testTheTopicsOfASubscription(): void
    {
        $topics = static fn (array $channels, array $config = []): array
            => (new Admin($config + ['topic_prefix' => 'r', 'brokers' => '127.0.0.1:1']))->topicsOf($channels);
        self::assertSame(['r_user_1', 'r_a_b'], $topics(['user.1', 'a.b', 'user.1']));
        self::assertSame(['r_user.1'], $topics(['user.1'], ['topic_strategy' => 'one-per-channel-dots']));
        [$users, $all] = $topics(['user.**', '**']);
        $existing = ['r_user_1', 'r_user_22', 'r_user_1_x', 'r_order_1', 'other_user_1', 'rX'];
        self::assertSame(['r_user_1', 'r_user_22', 'r_user_1_x'], array_values(preg_grep("~$users~", $existing) ?: []));
        self::assertSame(array_slice($existing, 0, 4), array_values(preg_grep("~$all~", $existing) ?: []));
        $grouped = ['topic_strategy' => 'grouped', 'topic_mapping' => ['user.*' => 'r.user', 'order.**' => 'r.order']];
        self::assertSame(['r.user', 'r.order', 'r'], $topics(['user.7', 'order.1.x', 'chat.1'], $grouped));
        self::assertSame(['r.user', 'r.order', 'r'], $topics(['**'], $grouped));
        // A pattern reads the topics of the patterns that it overlaps, and no others.
        self::assertSame(['r.user'], $topics(['user.*'], $grouped));
        self::assertSame(['r'], $topics(['user.1.*'], $grouped));
        $this->expectException(InvalidChannelException::class);
        $topics(['']);
    }

    public function testAnotherProcessCanReadButNotCreate(): void
    {
        $topic = $this->filled([2]);
        $result = $this->runPhp(<<<PHP
            \$admin = new Toporia\Realtime\Admin();
            echo \$admin->read('$topic', fn () => null), "\n";
            try {
                \$admin->createTopic('new');
            } catch (Toporia\Realtime\Exception\ConfigurationException \$e) {
                echo \$e->getMessage();
            }
            PHP)->assertExit();
        self::assertSame('2', $result->lines()[0]);
        self::assertStringContainsString('no admin API', $result->lines()[1]);
    }

    public function testTemporaryFaultsAreWaitedOut(): void
    {
        $kafka = EmbeddedBroker::start()->createTopic('one');
        $config = ['brokers' => $kafka->address()];
        $broker = $this->broker($config);
        $broker->send('one', 'x');
        $broker->close();
        $kafka->failNext('ListOffsets', 'NOT_LEADER_FOR_PARTITION', 2)->failNext('Metadata', 'REQUEST_TIMED_OUT')
            ->failNext('Fetch', '_TRANSPORT');
        $admin = new Admin($config);
        self::assertSame(1, $admin->read('one', static fn () => null));
        $admin->close();
        $kafka->stop();
    }

    public function testTheSharedBrokerOfTheProcess(): void
    {
        $result = $this->runPhp(<<<'PHP'
            Realtime::configure(['brokers' => 'embedded', 'produce' => 'sync']);
            $admin = new Toporia\Realtime\Admin();
            var_dump($admin->createTopic('t', 2), $admin->createTopic('t', 2));
            Realtime::broker()->send('t', 'x', null, [], 1);
            echo json_encode([$admin->offsets('t'), array_keys($admin->topics()), $admin->read('t', fn () => null)]);
            PHP)->assertExit();
        self::assertSame(
            ['bool(true)', 'bool(false)', '[[{"beginning":0,"end":0},{"beginning":0,"end":1}],["t"],1]'],
            $result->lines()
        );
    }
}
