<?php

/**
 * A record that is too large for its dead-letter topic: the dead letter names the location of the record.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use DomainException;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Delivery\DeliveryTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class DeadLetterSizeBrokerTest extends DeliveryTestCase
{
    /**
     * @dataProvider records
     *
     * @param array<string, string> $headers
     */
    #[DataProvider('records')]
    public function testOnlyTheCoordinatesAreKept(?string $key, string $value, array $headers): void
    {
        $this->broker()->send($this->topic(), $value, $key, $headers, 2);
        $this->broker()->send($this->topic(), 'small', null, [], 2);
        Realtime::flush();
        $limit = ['producer_config' => ['message.max.bytes' => 2000]];
        $seen = 0;
        $broker = $this->broker($limit + ['max_retries' => 0]);
        $broker->subscribeTopic($this->topic(), static function () use (&$seen): void {
            if (++$seen === 1) {
                throw new DomainException('no');
            }
        });
        self::assertSame(2, $this->drain($broker));
        self::assertSame(1, $broker->stats()['dead_lettered']);
        $broker->close();
        self::assertSame([2 => 2], array_filter($this->committed($this->topic())), 'the offset moves on');

        [$letter] = $this->letters(1);
        self::assertNull($letter->getPayload());
        $all = $letter->getHeaders();
        self::assertSame([$this->topic(), '2', '0', $this->group], [
            $all['x-original-topic'], $all['x-original-partition'], $all['x-original-offset'],
            $all['x-original-group'],
        ]);
        self::assertSame([DomainException::class, 'no', '1', '0'], [
            $all['x-exception-class'], $all['x-exception-message'], $all['x-attempts'], $all['x-replays'],
        ]);
    }

    /** @return array<string, array{string|null, string, array<string, string>}> */
    public static function records(): array
    {
        return [
            'it was nearly too large before' => ['k', str_repeat('x', 1900), ['own' => 'h']],
            'it was too large before' => [null, str_repeat('x', 100_000), []],
            'its headers alone are too large' => ['k', 'v', ['own' => str_repeat('h', 3000)]],
            'its key alone is too large' => [str_repeat('k', 3000), 'v', []],
        ];
    }

    public function testItMayBeTheBrokerThatRefusesIt(): void
    {
        // A client-side limit has the same effect on the embedded broker, which has no limit of its own.
        $limit = self::isReal() ? [] : ['producer_config' => ['message.max.bytes' => 5000]];
        if (self::isReal()) {
            $this->createTopic("dlq.{$this->topic()}");
            self::limit("dlq.{$this->topic()}", 5000);
        }
        $this->broker()->send($this->topic(), str_repeat('x', 20_000), 'k', [], 0);
        $this->broker()->send($this->topic(), 'small', 'k', [], 0);
        Realtime::flush();
        $broker = $this->consumer(static fn (): DomainException => new DomainException('no'), [
            'max_retries' => 0,
        ] + $limit);
        self::assertSame(2, $this->drain($broker));
        $broker->close();
        $letters = $this->letters(2);
        self::assertEqualsCanonicalizing([null, 'small'], array_map(static fn ($m) => $m->getPayload(), $letters));
        $offsets = array_map(static fn ($m) => $m->getHeaders()['x-original-offset'], $letters);
        self::assertEqualsCanonicalizing(['0', '1'], $offsets);
        self::assertSame([], $this->left());
    }

    /** Sets a topic's max.message.bytes on Kafka, with Kafka's own tool. */
    private static function limit(string $topic, int $bytes): void
    {
        $command = [
            self::root() . '/tests/support/kafka.sh', 'tool', 'kafka.admin.ConfigCommand', '--bootstrap-server',
            self::address(), '--alter', '--entity-type', 'topics', '--entity-name', $topic,
            '--add-config', "max.message.bytes=$bytes",
        ];
        (new ChildProcess($command, getenv()))->wait(60.0)->assertExit();
    }
}
