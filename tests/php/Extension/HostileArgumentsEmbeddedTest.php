<?php

/**
 * No argument makes a native method panic: arrays with keys that are not UTF-8, references, recursion, any type.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Extension;

use Closure;
use Error;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Throwable;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\EmbeddedBroker;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class HostileArgumentsEmbeddedTest extends TestCase
{
    private const BAD = "\xFF";

    /**
     * @return array<string, array{Closure(): mixed}>
     */
    public static function arrays(): array
    {
        $bad = [self::BAD => 1];
        $broker = static fn () => new Broker(['brokers' => 'embedded']);
        $admin = static fn () => new Admin(['brokers' => 'embedded']);

        return [
            'new Broker' => [static fn () => new Broker($bad)],
            'new Broker, nested' => [static fn () => new Broker(['producer_config' => $bad])],
            'new Broker, a value' => [static fn () => new Broker(['brokers' => self::BAD])],
            'configure' => [static fn () => Realtime::configure($bad)],
            'new Admin' => [static fn () => new Admin($bad)],
            'new Gateway' => [static fn () => new Gateway($bad)],
            'withHeaders' => [static fn () => Message::event('a', 'e')->withHeaders($bad)],
            'publish' => [static fn () => $broker()->publish('a', Message::event('a', 'e'), null, $bad)],
            'send' => [static fn () => $broker()->send('a', 'v', null, $bad)],
            'publishBatch' => [static fn () => $broker()->publishBatch([['a', 'e', 1, null, $bad]])],
            'Admin::deleteRecords' => [static fn () => $admin()->deleteRecords('a', $bad)],
            'Admin::createTopic' => [static fn () => $admin()->createTopic('a', 1, 1, $bad)],
            'Gateway::authorize' => [static fn () => (new Gateway(['key' => 'k', 'secret' => 's']))->authorize(
                '1.2',
                'presence-a',
                $bad,
            )],
        ];
    }

    /**
     * @param Closure(): mixed $call
     *
     * @dataProvider arrays
     */
    #[DataProvider('arrays')]
    public function testAKeyThatIsNotUtf8IsRefusedWithAnErrorOfOurs(Closure $call): void
    {
        try {
            $call();
            self::fail('It was accepted.');
        } catch (Throwable $e) {
            self::assertInstanceOf(RealtimeException::class, $e, get_class($e) . ': ' . $e->getMessage());
        }
    }

    public function testListsWithSuchAKeyAreReadByTheirValues(): void
    {
        $id = Realtime::fake()->publish('a', Message::event('a', 'e'));
        self::assertNotSame('', Realtime::broadcast([self::BAD => 'a', 'b'], 'e'));
        self::assertNotSame('', $id);
        Realtime::restore();
    }

    public function testAConfigurationThatContainsItselfIsRefused(): void
    {
        $config = ['brokers' => 'embedded'];
        $config['producer_config'] = &$config;
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('levels deep');
        new Broker($config);
    }

    public function testAnArrayThatAStringableChangesWhileItIsRead(): void
    {
        $list = [];
        $list[] = new class ($list) {
            /** @param array<mixed> $list */
            public function __construct(private array &$list)
            {
            }

            public function __toString(): string
            {
                $this->list = [];

                return 'text';
            }
        };
        array_push($list, 'b', 'c');
        $headers = ['h' => &$list];
        self::assertSame(['text', 'b', 'c'], Message::event('a', 'e')->withHeaders($headers)->getHeaderValues('h'));
    }

    public function testAnEmbeddedTopicOfTooManyPartitionsIsRefused(): void
    {
        $this->expectException(ConfigurationException::class);
        EmbeddedBroker::shared()->createTopic('many', PHP_INT_MAX);
    }

    public function testAConstructorRunsOnce(): void
    {
        foreach ([new Broker(['brokers' => 'embedded']), new Admin(['brokers' => 'embedded'])] as $object) {
            try {
                $object->__construct(['brokers' => 'embedded']);
                self::fail(get_class($object) . ' was constructed twice.');
            } catch (Error $e) {
                self::assertStringContainsString('constructed', $e->getMessage());
            }
        }
    }

    public function testEveryMethodWithHostileArguments(): void
    {
        $extension = getenv('REALTIME_EXTENSION') ?: dirname(__DIR__, 3) . '/target/release/libtoporia_realtime.so';
        $command = [PHP_BINARY, dirname(__DIR__, 2) . '/fuzz/public-api.php', "--extension=$extension", '--seconds=4', '--calls=800'];
        exec(implode(' ', array_map(escapeshellarg(...), $command)) . ' 2>&1', $output, $code);
        self::assertSame(0, $code, implode("\n", $output));
    }
}
