<?php

/**
 * Which exceptions are retried and which are not: marker interfaces, settings by class, and built-in rules; the first
 * match wins.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use DomainException;
use InvalidArgumentException;
use LogicException;
use PHPUnit\Framework\Attributes\DataProvider;
use RuntimeException;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\HopLimitException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Exception\MessageTooLargeException;
use Toporia\Realtime\Exception\Permanent;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Exception\QueueFullException;
use Toporia\Realtime\Exception\Transient;
use Toporia\Realtime\Exception\TransientException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use TypeError;

final class PermanentExceptionsBrokerTest extends DeliveryTestCase
{
    /** The maximum number of attempts per record in these tests. What is transient is given up after a second. */
    private const SETTINGS = ['max_retries' => 1, 'retry_backoff_ms' => 10, 'transient_max_seconds' => 1];
    /** The attempts of a transient exception: as many as fit into its time. */
    private const MANY = -1;

    public function testEachKindIsAttemptedAsOftenAsItShould(): void
    {
        $both = new class ('both') extends DomainException implements Transient, Permanent {
        };
        $permanent = new class ('marked') extends DomainException implements Permanent {
        };
        $this->assertTries([
            [new PermanentException('p'), 1],
            [$permanent, 1],
            [new TransientException('t'), self::MANY],
            [$both, self::MANY],
            [new QueueFullException('Kafka is away'), self::MANY],
            [new ConnectionException('Kafka is away'), self::MANY],
            [new RuntimeException('r'), 2],
            [new TypeError('e'), 2],
            [new EncodingException('ours'), 1],
            [new HopLimitException('ours'), 1],
            [new InvalidChannelException('ours'), 1],
            [new MessageTooLargeException('ours'), 1],
            [new ConfigurationException('our own, but it may be corrected'), 2],
        ]);
    }

    public function testTheSettingsNameClassesOfTheApplication(): void
    {
        $transient = new class ('t') extends LogicException implements Transient {
        };
        $marked = new class ('p') extends RuntimeException implements Permanent {
        };
        $this->assertTries([
            [new LogicException('itself'), 1],
            [new DomainException('a subclass'), 1],
            [new InvalidArgumentException('a subclass, and wanted'), self::MANY],
            [$transient, self::MANY],
            [$marked, self::MANY],
            [new PermanentException('also a RuntimeException'), self::MANY],
            [new EncodingException('an InvalidArgumentException'), self::MANY],
            [new TypeError('not named'), 2],
        ], [
            'permanent_exceptions' => [LogicException::class, 'No\Such\ClassAnywhere'],
            'transient_exceptions' => [InvalidArgumentException::class, RuntimeException::class],
        ]);
    }

    public function testInterfacesAndLeadingBackslashesAreClassesToo(): void
    {
        $this->assertTries([
            [new DomainException('anything'), 1],
            [new TransientException('but marked'), self::MANY],
        ], ['permanent_exceptions' => ['\\' . Throwable::class]]);
    }

    public function testABatchFailsAsItsCauseDoes(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $tries = [];
        $broker = $this->broker(self::SETTINGS);
        $broker->subscribeBatch('user.1', static function (array $messages) use (&$tries): void {
            foreach ($messages as $index => $message) {
                $tries[] = $message->getData();
                if ($message->getData() !== 3) {
                    $why = $message->getData() === 1 ? new PermanentException('never') : new DomainException('no');
                    throw new BatchException($index, $why);
                }
            }
        });
        self::assertSame(3, $this->drain($broker));
        self::assertSame([1, 2], [array_count_values($tries)[1], array_count_values($tries)[2]]);
        $classes = [];
        foreach ($this->letters(2, $this->channelTopic('user.1')) as $letter) {
            $classes[] = $letter->getHeaders()['x-exception-class'];
        }
        self::assertEqualsCanonicalizing([PermanentException::class, DomainException::class], $classes);
    }

    public function testDataThatCannotBeDecodedIsPermanent(): void
    {
        $topic = $this->channelTopic('user.1');
        $this->send($topic, ['{"channel":"user.1","event":"e","data":"\ud800"}']);
        $tries = 0;
        $broker = $this->broker()->subscribe('user.1', static function (Message $message) use (&$tries): void {
            $tries++;
            $message->getData();
        });
        self::assertSame(1, $this->drain($broker));
        self::assertLessThanOrEqual(1, $tries);
        [$letter] = $this->letters(1, $topic);
        self::assertSame(EncodingException::class, $letter->getHeaders()['x-exception-class']);
        self::assertSame((string) $tries, $letter->getHeaders()['x-attempts']);
    }

    public function testExceptionsOfOurOwnMethodsInACallback(): void
    {
        $this->produce(['A1', 'B1', 'C1']);
        $broker = $this->consumer(static function (Message $message): ?Throwable {
            match ($message->getPayload()) {
                'A1' => Realtime::broadcast('user.1', 'e', NAN),
                'B1' => Realtime::broadcast("user.\n", 'e'),
                'C1' => Realtime::broadcast('user.1', 'e', str_repeat('x', 5_000_000)),
            };

            return null;
        });
        self::assertSame(3, $this->drain($broker));
        self::assertSame(['A1#1', 'B1#1', 'C1#1'], $this->tries);
        $classes = array_map(static fn (Message $m) => $m->getHeaders()['x-exception-class'], $this->letters(3));
        self::assertEqualsCanonicalizing(
            [EncodingException::class, InvalidChannelException::class, MessageTooLargeException::class],
            $classes
        );
    }

    /** @dataProvider settings */
    #[DataProvider('settings')]
    public function testSettingsThatAreNoListsOfClassesAreRefused(string $setting, mixed $value): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage($setting);
        $this->broker([$setting => $value])->stats();
    }

    /** @return array<string, array{string, mixed}> */
    public static function settings(): array
    {
        return [
            'a number in a list' => ['permanent_exceptions', [17]],
            'a number' => ['transient_exceptions', 5],
            'a negative time' => ['transient_max_seconds', -1],
            'words' => ['circuit_failures', 'five'],
        ];
    }

    /**
     * Throws each exception in the callback of its own record, every time, and returns the number of attempts.
     *
     * @param list<array{Throwable, int}> $expected
     * @param array<string, mixed> $config
     */
    private function assertTries(array $expected, array $config = []): void
    {
        $keys = array_slice(range('A', 'Z'), 0, count($expected));
        $this->produce(array_map(static fn (string $key) => "{$key}1", $keys));
        $by = array_combine($keys, array_column($expected, 0));
        $broker = $this->consumer(
            static fn (Message $message): Throwable => $by[(string) $message->getKey()],
            $config + ['circuit_failures' => 0] + self::SETTINGS
        );
        self::assertSame(count($expected), $this->drain($broker));
        self::assertSame(count($expected), $broker->stats()['dead_lettered']);
        foreach ($expected as $i => [$why, $tries]) {
            $made = count($this->triesOf($keys[$i]));
            self::assertSame($tries, $made > 4 ? self::MANY : $made, get_class($why) . ' ' . $why->getMessage());
        }
    }
}
