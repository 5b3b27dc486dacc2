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
