<?php

/**
 * RealtimeFake records broadcasts, and lists them in the messages of failed assertions.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Testing;

use PHPUnit\Framework\AssertionFailedError;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use RuntimeException;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Testing\RealtimeFake;
use Toporia\Realtime\Tests\Support\RunsPhp;

final class RealtimeFakeUnitTest extends TestCase
{
    use RunsPhp;

    private RealtimeFake $fake;

    protected function setUp(): void
    {
        $this->fake = new RealtimeFake();
    }

    public function testAssertionsCheckChannelEventAndClosure(): void
    {
        $this->publish('user.1', 'paid', ['id' => 7]);
        $this->publish('user.2', 'paid', ['id' => 8]);
        $this->fake->assertBroadcast('user.1');
        $this->fake->assertBroadcast('user.1', 'paid');
        $this->fake->assertBroadcast('user.*', 'paid', static fn (Message $m) => $m->getData()['id'] === 8);
        $this->fake->assertBroadcastTimes('user.*', 'paid', 2);
        $this->fake->assertBroadcastTimes('user.1');
        $this->fake->assertNotBroadcast('user.3');
        $this->fake->assertNotBroadcast('user.1', 'created');
        $this->fake->assertNotBroadcast('user.1', 'paid', static fn (Message $m) => $m->getData()['id'] === 8);
        self::assertCount(1, $this->fake->broadcasts('user.1'));
    }

    public function testFailuresListTheActualBroadcasts(): void
    {
        $this->publish('user.1', 'order.paid', ['id' => 7]);
        foreach (
            [
                "Expected 'order.created' on 'user.1', but it was not broadcast."
                    => fn () => $this->fake->assertBroadcast('user.1', 'order.created'),
                "Expected any event on 'user.1' 2 time(s), but it was broadcast 1 time(s)."
                    => fn () => $this->fake->assertBroadcastTimes('user.1', null, 2),
                "Did not expect 'order.paid' on 'user.1' for which the closure returns true, but it was broadcast 1"
                    => fn () => $this->fake->assertNotBroadcast('user.1', 'order.paid', static fn () => true),
                'Expected no broadcast.' => fn () => $this->fake->assertNothingBroadcast(),
            ] as $text => $assertion
        ) {
            $message = self::failureOf($assertion);
            self::assertStringContainsString($text, $message);
            self::assertStringContainsString("- 'order.paid' on 'user.1' {\"id\":7}", $message);
        }
    }

    public function testAFailureWithoutBroadcastsIsExplicit(): void
    {
        $message = self::failureOf(fn () => $this->fake->assertBroadcast('user.1'));
        self::assertStringContainsString('Nothing was broadcast.', $message);
        $this->fake->assertNothingBroadcast();
    }

    public function testLongDataAndLongListsAreTruncated(): void
    {
        for ($i = 0; $i < 25; $i++) {
            $this->publish('user.1', 'paid', str_repeat('é', 500));
        }
        $message = self::failureOf(fn () => $this->fake->assertBroadcast('user.2'));
        self::assertStringContainsString('… and 5 more', $message);
        self::assertSame(1, preg_match('//u', $message), 'valid UTF-8');
        self::assertLessThan(6000, strlen($message));
    }

    public function testItWorksWithoutPhpunit(): void
    {
        $result = $this->runPhp(<<<'PHP'
            $fake = Realtime::fake();
            Toporia\Realtime\broadcast('user.1', 'paid');
            $fake->assertBroadcast('user.1', 'paid');
            try {
                $fake->assertNothingBroadcast();
            } catch (AssertionError $e) {
                echo $e->getMessage();
            }
            PHP);
        $result->assertExit();
        self::assertStringContainsString("- 'paid' on 'user.1'", $result->stdout);
    }

    public function testABatchIsRecordedMessageByMessage(): void
    {
        $result = $this->fake->publishBatch([
            ['user.1', 'paid', ['id' => 1], 'key', ['a' => 'b']],
            ['user.2', 'paid'],
            Message::event('user.3', 'paid', ['id' => 3])->withKey('k3'),
        ]);
        self::assertSame([3, 0], [$result['queued'], $result['failed']]);
        self::assertIsFloat($result['total_time_ms']);
        self::assertIsFloat($result['throughput']);
        $this->fake->assertBroadcastTimes('user.*', 'paid', 3);
        self::assertSame(['key', null, 'k3'], array_column($this->fake->sent(), 'key'));
        self::assertSame(['a' => 'b'], $this->fake->sent()[0]->headers);
    }

    /** @dataProvider badEntries */
    #[DataProvider('badEntries')]
    public function testABadEntryOfABatchIsNamed(mixed $entry): void
    {
        try {
            $this->fake->publishBatch([['user.1', 'paid'], $entry]);
            self::fail('Nothing was thrown.');
        } catch (BatchException $e) {
            self::assertSame(1, $e->getIndex());
            self::assertNotNull($e->getPrevious());
        }
        $this->fake->assertBroadcastTimes('*.*', null, 1);
    }

    /** @return array<string, array{mixed}> */
    public static function badEntries(): array
    {
        return [
            'no event' => [['user.1']],
            'no channel' => [Message::event(null, 'paid')],
            'a string' => ['user.1'],
            'data that is no JSON' => [['user.1', 'paid', NAN]],
        ];
    }

    public function testRawTopicsAreRecordedSeparately(): void
    {
        $this->fake->send('orders', "\xff binary", 'k');
        $this->fake->send('orders', null);
        $this->fake->assertNotBroadcast('orders');
        self::assertSame(['orders', 'orders'], array_column($this->fake->sent(), 'topic'));
        self::assertSame("\xff binary", $this->fake->sent()[0]->value);
        self::assertStringContainsString(
            "a record to topic 'orders'",
            self::failureOf(fn () => $this->fake->assertNothingBroadcast())
        );
        $this->expectException(EncodingException::class);
        $this->fake->send('orders', [NAN]);
    }

    public function testInvalidChannelsAreRefused(): void
    {
        $this->expectException(InvalidChannelException::class);
        $this->publish('', 'paid');
    }

    public function testTheHeadersOfTheMessageAreKept(): void
    {
        $message = Message::event(null, 'paid')->withHeaders(['a' => '1', 'b' => '1'])->withKey('m');
        $this->fake->publish('user.1', $message, null, ['b' => '2']);
        self::assertEquals(['a' => '1', 'b' => '2'], $this->fake->sent()[0]->headers);
        self::assertSame('m', $this->fake->sent()[0]->key);
    }

    private function publish(string $channel, string $event, mixed $data = null): void
    {
        $this->fake->publish($channel, Message::event($channel, $event, $data));
    }

    private static function failureOf(callable $assertion): string
    {
        try {
            $assertion();
        } catch (AssertionFailedError $e) {
            return $e->getMessage();
        }
        throw new RuntimeException('The assertion passed.');
    }
}
