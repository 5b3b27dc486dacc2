<?php

/**
 * Replaying on a broker: only the failed group gets the message again, and a second failure is recorded.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use DomainException;
use LogicException;
use Throwable;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class ReplayBrokerTest extends DlqTestCase
{
    public function testOnlyTheGroupThatFailedGetsItAgain(): void
    {
        $topic = $this->createTopic($this->topic(), 2);
        $this->send($topic, ['good', 'bad'], 'key', ['own' => "\xff"]);
        $bad = static fn (Message $m): ?Throwable => $m->getPayload() === 'bad' ? new DomainException('no') : null;
        $this->consumeAs('failing', $topic, $bad);
        self::assertCount(2, $this->consumeAs('fine', $topic));

        [$letter] = $this->listed();
        self::assertSame(["$this->group-failing", DomainException::class, 'no', 1, 0], [
            $letter['group'], $letter['class'], $letter['message'], $letter['attempts'], $letter['replays'],
        ]);
        $result = $this->replayAll();
        self::assertSame([1, 1, [], []], [
            $result['chosen'], $result['replayed'], (array) $result['refused'], (array) $result['failed'],
        ]);

        $again = $this->consumeAs('failing', $topic);
        self::assertCount(1, $again);
        self::assertSame(['bad', 'key', "\xff", 1], [
            $again[0]->getPayload(), $again[0]->getKey(), $again[0]->getHeaders()['own'], $again[0]->getAttempt(),
        ]);
        self::assertSame([], $this->consumeAs('fine', $topic), 'the other group skips it');
        self::assertSame([], $this->listed(), 'what was replayed is hidden');
        self::assertNotNull($this->listed(['--all' => true])[0]['replayed_at']);
    }

    public function testARepeatedHeaderKeepsAllItsValues(): void
    {
        $topic = $this->createTopic($this->topic());
        $this->send($topic, ['x'], 'k', ['via' => ['a', null, 'b'], 'own' => 'o']);
        $fails = static fn (): ?Throwable => new DomainException('no');
        [$first] = $this->consumeAs('g', $topic, $fails);
        self::assertSame(['a', null, 'b'], $first->getHeaderValues('via'));
        self::assertSame([['o'], [], 'b'], [
            $first->getHeaderValues('own'), $first->getHeaderValues('none'), $first->getHeaders()['via'],
        ]);
        self::assertSame(1, $this->replayAll()['replayed']);
        [$again] = $this->consumeAs('g', $topic);
        self::assertSame(['a', null, 'b'], $again->getHeaderValues('via'));
        self::assertSame(['o'], $again->getHeaderValues('own'));
    }

    public function testASecondFailureCountsTheReplays(): void
    {
        $topic = $this->createTopic($this->topic());
        $this->send($topic, ['before', 'x'], 'k');
        $fails = static fn (Message $m): ?Throwable => $m->getPayload() === 'x' ? new DomainException('no') : null;
        foreach ([0, 1, 2] as $times) {
            $this->consumeAs('g', $topic, $fails);
            $letters = $this->listed();
            self::assertCount(1, $letters, "after $times replays");
            self::assertSame($times, $letters[0]['replays']);
            self::assertSame([$topic, 0, 1], [
                $letters[0]['topic'], $letters[0]['partition'], $letters[0]['offset'],
            ], 'where it failed first');
            self::assertSame(1, $this->replayAll()['replayed']);
        }
        $last = $this->consumeAs('g', $topic);
        self::assertCount(1, $last);
        self::assertSame('3', $last[0]->getHeaders()['x-replays']);
        self::assertCount(3, $this->listed(['--all' => true]));
    }

    public function testAMessageOfAChannel(): void
    {
        $broker = $this->broker();
        $message = Message::event('user.1', 'order.paid', ['id' => 7]);
        $broker->publish('user.1', $message, 'key-7', ['own' => 'o']);
        Realtime::flush();
        $fail = true;
        $seen = [];
        $broker->subscribe('user.*', static function (Message $message) use (&$fail, &$seen): void {
            $seen[] = $message;
            if ($fail) {
                throw new LogicException('bug');
            }
        });
        $broker->consume(200, 100, 1);
        [$letter] = $this->listed(['--topic' => 'user.*']);
        self::assertSame([$message->getId(), 'user.1', 'order.paid'], [
            $letter['id'], $letter['channel'], $letter['event'],
        ]);
        self::assertSame([], $this->listed(['--topic' => 'order.*']));

        $fail = false;
        self::assertSame(0, $this->command('replay', ['letters' => [$message->getId()], '--yes' => true]));
        $broker->consume(200, 100, 1);
        self::assertCount(2, $seen);
        self::assertSame([$message->toJson(), 'key-7', 'o', ['id' => 7]], [
            $seen[1]->toJson(), $seen[1]->getKey(), $seen[1]->getHeaders()['own'], $seen[1]->getData(),
        ]);
    }

    public function testTheHopCountIsReset(): void
    {
        $topic = $this->createTopic($this->topic());
        $target = $this->createTopic($this->topic('target'));
        $this->send($topic, ['x']);
        // A record that has reached max_hops: a message sent by its callback fails.
        for ($i = 0; $i < 3; $i++) {
            $broker = $this->broker(['max_hops' => 2, 'consumer_group' => "$this->group-hops"]);
            $broker->subscribeTopic($topic, static function (Message $m) use ($broker, $topic): void {
                $broker->send($topic, $m->getPayload(), 'k');
            });
            $broker->consume(200, 1, 1);
            $broker->close();
        }
        [$letter] = $this->listed();
        self::assertStringContainsString('HopLimitException', (string) $letter['class']);
        $this->replayAll();
        $broker = $this->broker(['max_hops' => 2, 'consumer_group' => "$this->group-hops"]);
        $broker->subscribeTopic($topic, static function (Message $m) use ($broker, $target): void {
            $broker->send($target, $m->getPayload(), 'k');
        });
        $broker->consume(200, 1, 1);
        $broker->close();
        self::assertCount(1, $this->consumeAll($target, 1), 'the replay could be forwarded');
        self::assertSame([], $this->listed());
    }

    public function testByPlaceClassGroupAndTime(): void
    {
        $topic = $this->createTopic($this->topic());
        $this->send($topic, ['a', 'b', 'c']);
        $this->consumeAs('one', $topic, static fn (Message $m): Throwable => match ($m->getPayload()) {
            'a' => new DomainException('a'),
            default => new LogicException((string) $m->getPayload()),
        });
        $this->consumeAs('two', $topic, self::always());
        self::assertCount(6, $this->listed());
        $replay = function (array $input): int {
            self::assertSame(0, $this->command('replay', $input + ['--yes' => true, '--json' => true]), $this->output);

            return json_decode($this->output, true)['replayed'];
        };
        self::assertSame(0, $replay(['--since' => (string) (time() + 60)]));
        self::assertSame(0, $replay(['--class' => 'RuntimeException']));
        self::assertSame(1, $replay(['--class' => 'domainexception', '--group' => "$this->group-one"]));
        self::assertSame(['a'], $this->payloads($this->consumeAs('one', $topic)));
        $place = $this->listed(['--class' => 'LogicException'])[0]['letter'];
        self::assertSame(1, $replay(['letters' => [$place]]));
        self::assertSame(0, $replay(['letters' => [$place]]), 'it was replayed');
        self::assertSame(1, $replay(['letters' => [$place], '--again' => true]));
        self::assertCount(2, $this->consumeAs('one', $topic));
        self::assertSame(3, $replay(['--since' => '1h', '--topic' => $topic, '--group' => "$this->group-two"]));
        self::assertSame(['a', 'b', 'c'], $this->payloads($this->consumeAs('two', $topic)));
        self::assertCount(1, $this->listed());
    }

    public function testADeadLetterWithoutAValueIsReplayedFromItsOriginal(): void
    {
        $topic = $this->createTopic($this->topic(), 2);
        $broker = Realtime::broker('kafka');
        foreach (['one', 'two', 'three'] as $value) {
            $broker->send($topic, $value, "key $value", ['own' => $value], 1);
        }
        Realtime::flush();
        $original = array_values(array_filter(
            $this->consumeAll($topic, 3),
            static fn (Message $m): bool => $m->getPayload() === 'two'
        ))[0];
        $this->consumeAs('g', $topic);
        $coordinates = fn (int $offset): array => [
            'x-original-topic' => $topic, 'x-original-partition' => '1', 'x-original-offset' => (string) $offset,
            'x-original-timestamp' => $original->getTimestamp() . '000', 'x-exception-class' => 'TooLarge',
            'x-attempts' => '4', 'x-failed-at' => (string) time(), 'x-replays' => '0',
            'x-original-group' => "$this->group-g", 'x-original-size' => '2000000',
        ];
        $this->letter($topic, $coordinates(1));
        $this->letter($topic, $coordinates(77));
        $result = $this->replayAll(1);
        self::assertSame(1, $result['replayed']);
        self::assertStringContainsString('no longer in', reset($result['refused']));
        $again = $this->consumeAs('g', $topic);
        self::assertSame(['two', 'key two', 'two', '1'], [
            $again[0]->getPayload(), $again[0]->getKey(), $again[0]->getHeaders()['own'],
            $again[0]->getHeaders()['x-replays'],
        ]);
    }

    public function testARecordTooLargeForItsDeadLetterIsReplayedTwice(): void
    {
        $topic = $this->createTopic($this->topic());
        if (self::isReal()) {
            $admin = new Admin($this->config());
            $admin->createTopic($this->dead($topic), 1, -1, ['max.message.bytes' => 20000]);
            $admin->close();
        }
        // The embedded broker accepts a dead letter of any size: it holds the record, and the result is the same.
        $value = bin2hex(random_bytes(50_000));
        $this->send($topic, [$value], 'key', ['own' => 'o']);
        foreach (['0', '1'] as $replays) {
            $this->consumeAs('g', $topic, self::always());
            [$letter] = $this->listed();
            self::assertSame([(int) $replays, 0], [$letter['replays'], $letter['offset']]);
            self::assertSame(0, $this->command('show', ['letter' => $letter['letter']]));
            self::assertStringContainsString(self::isReal() ? 'omitted: its 100,000 bytes' : $value, $this->output);
            self::assertSame(1, $this->replayAll()['replayed']);
        }
        $again = $this->consumeAs('g', $topic);
        self::assertCount(1, $again);
        self::assertSame([$value, 'key', 'o', '2'], [
            $again[0]->getPayload(), $again[0]->getKey(), $again[0]->getHeaders()['own'],
            $again[0]->getHeaders()['x-replays'],
        ]);
    }

    public function testATombstoneStaysATombstone(): void
    {
        $topic = $this->createTopic($this->topic());
        $this->send($topic, [null, null], 'k', ['own' => 'o']);
        $this->consumeAs('g', $topic, self::always());
        self::assertSame(2, $this->replayAll()['replayed']);
        $again = $this->consumeAs('g', $topic);
        self::assertCount(2, $again);
        self::assertSame([null, 'k', 'o'], [
            $again[0]->getPayload(), $again[0]->getKey(), $again[0]->getHeaders()['own'],
        ]);
    }

    public function testADryRunAndADeclinedQuestionChangeNothing(): void
    {
        $topic = $this->createTopic($this->topic());
        $this->send($topic, ['x']);
        $this->consumeAs('g', $topic, self::always());
        self::assertSame(0, $this->command('replay', ['--all' => true, '--dry-run' => true]));
        self::assertStringContainsString('Dry run: 1 letter would be replayed.', $this->output);
        self::assertSame(0, $this->command('replay', ['--all' => true], ['n']));
        self::assertSame([], $this->consumeAs('g', $topic));
        self::assertCount(1, $this->listed());
    }

    /**
     * Writes a dead letter without key and value, as for a record that was too large.
     *
     * @param array<string, string> $headers
     */
    private function letter(string $topic, array $headers): void
    {
        Realtime::broker('kafka')->send($this->dead($topic), null, null, $headers);
        Realtime::flush();
    }

    /**
     * @param list<Message> $messages
     *
     * @return list<string|null>
     */
    private function payloads(array $messages): array
    {
        return array_map(static fn (Message $message): ?string => $message->getPayload(), $messages);
    }
}
