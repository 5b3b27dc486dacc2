<?php

/**
 * realtime:kafka:publish: one event, or one event per line of standard input, delivered before it returns.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Console;

use Toporia\Realtime\Message;

final class PublishCommandBrokerTest extends ConsoleTestCase
{
    public function testOneEvent(): void
    {
        $options = '--key=k --header=x-a:b --header=c=d';
        $result = $this->console('realtime:kafka:publish user.1 paid {"id":7,"o":{}} ' . $options)->assertExit();
        $messages = $this->consumeAll($this->channelTopic('user.1'), 1);
        self::assertCount(1, $messages);
        $message = $messages[0];
        $envelope = Message::fromJson((string) $message->getPayload());
        self::assertSame([$envelope->getId()], $result->lines());
        self::assertSame(['user.1', 'paid'], [$envelope->getChannel(), $envelope->getEvent()]);
        self::assertStringContainsString('"data":{"id":7,"o":{}}', (string) $message->getPayload());
        self::assertSame('k', $message->getKey());
        self::assertSame(['b', 'd'], [$message->getHeaders()['x-a'], $message->getHeaders()['c']]);
    }

    public function testWithoutDataAndWithTheChannelAsKey(): void
    {
        $this->console('realtime:kafka:publish user.1 ping null')->assertExit();
        $message = $this->consumeAll($this->channelTopic('user.1'), 1)[0];
        self::assertStringNotContainsString('"data"', (string) $message->getPayload());
        self::assertSame('user.1', $message->getKey());
    }

    public function testOneForEachLineAndAnInvalidLineIsSkippedAlone(): void
    {
        $lines = implode("\n", array_map(static fn (int $i) => "{\"n\":$i}", range(1, 500)));
        $lines = str_replace('{"n":250}', '{n:250}', $lines);
        $result = $this->console('realtime:kafka:publish user.1 paid', ['stdin' => $lines])->assertExit(1);
        self::assertStringContainsString('line 250 was not sent: invalid JSON', $result->stderr);
        self::assertCount(499, $result->lines());
        $numbers = array_map(
            static fn (Message $m) => Message::fromJson((string) $m->getPayload())->getData()['n'],
            $this->consumeAll($this->channelTopic('user.1'), 499)
        );
        sort($numbers);
        self::assertSame([...range(1, 249), ...range(251, 500)], $numbers);
    }

    public function testALineWithANumberThatIsTooLargeIsSkippedAlone(): void
    {
        $result = $this->console('realtime:kafka:publish user.1 paid', ['stdin' => "1e999\n{\"n\":1}\n"])->assertExit(1);
        self::assertStringContainsString('line 1 was not sent: Cannot encode data as JSON', $result->stderr);
        self::assertCount(1, $result->lines());
        self::assertCount(1, $this->consumeAll($this->channelTopic('user.1'), 1));
        $this->console('realtime:kafka:publish user.1 paid 1e999')->assertExit(2);
    }

    public function testAnEmptyInputSendsNothingAndSaysSo(): void
    {
        $result = $this->console('realtime:kafka:publish user.1 paid')->assertExit();
        self::assertStringContainsString('Nothing was sent: standard input was empty.', $result->stderr);
        self::assertSame('', $result->stdout);
    }

    public function testUnsendableInputIsWrongUsage(): void
    {
        $result = $this->console('realtime:kafka:publish user.1 paid {id:7}')->assertExit(2);
        self::assertStringContainsString('The data is not valid JSON', $result->stderr);
        $result = $this->console('realtime:kafka:publish user.* paid 1')->assertExit(2);
        self::assertStringContainsString('user.*', $result->stderr);
        self::assertSame('', $result->stdout);
        $result = $this->startConsole(['realtime:kafka:publish', 'user.1', ' ', '1'])->wait()->assertExit(2);
        self::assertStringContainsString('The event name is required', $result->stderr);
    }

    public function testAnUnreachableKafkaIsAFailureThatNamesTheMessage(): void
    {
        $result = $this->console(
            'realtime:kafka:publish user.1 paid 1',
            ['env' => ['KAFKA_BROKERS' => '127.0.0.1:1'], 'timeout' => 60.0]
        );
        $result->assertExit(1);
        self::assertStringContainsString('127.0.0.1:1', $result->stderr);
    }
}
