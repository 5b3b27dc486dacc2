<?php

/**
 * Which messages reach a channel's callback, and which do not: other channels of the same topic, other prefixes,
 * foreign records.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Closure;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class DispatchBrokerTest extends ConsumingTestCase
{
    /** @var list<Message> */
    private array $got = [];

    public function testTheMessageIsUnchangedAndHasItsCoordinates(): void
    {
        $broker = $this->broker();
        $id = $broker->publish(
            'user.1',
            Message::event(null, 'order.paid', ['id' => 7, 'total' => 9.5]),
            'order-7',
            ['trace' => 'abc']
        );
        Realtime::flush();
        $this->drain($this->broker()->subscribe('user.1', $this->collect()));
        [$message] = $this->got;
        self::assertSame($id, $message->getId());
        self::assertSame('event', $message->getType());
        self::assertSame('user.1', $message->getChannel());
        self::assertSame('order.paid', $message->getEvent());
        self::assertSame(['id' => 7, 'total' => 9.5], $message->getData());
        self::assertEqualsWithDelta(time(), $message->getTimestamp(), 10);
        self::assertSame('order-7', $message->getKey());
        self::assertSame(['trace' => 'abc'], $message->getHeaders());
        self::assertSame($this->channelTopic('user.1'), $message->getTopic());
        self::assertContains($message->getPartition(), [0, 1, 2, 3]);
        self::assertSame(0, $message->getOffset());
        self::assertSame(1, $message->getAttempt());
        self::assertSame($message->getPayload(), $message->toJson());
        self::assertStringStartsWith('{"id":"' . $id . '","type":"event","channel":"user.1"', $message->toJson());
    }

    public function testChannelsOfOneTopicAreSeparate(): void
    {
        $this->publish('user.1', ['dot']);
        $this->publish('user_1', ['line']);
        self::assertSame($this->channelTopic('user.1'), $this->channelTopic('user_1'));

        $broker = $this->broker(['consumer_group' => "$this->group-dot"])->subscribe('user.1', $this->collect());
        self::assertSame(1, $this->drain($broker));
        self::assertSame(['dot'], $this->data());
        self::assertSame(1, $broker->stats()['skipped'], 'the other channel has no subscription and is counted');

        $this->got = [];
        $broker = $this->broker(['consumer_group' => "$this->group-line"])->subscribe('user_1', $this->collect());
        self::assertSame(1, $this->drain($broker));
        self::assertSame(['line'], $this->data());
    }

    public function testSkippedRecordsAreCommitted(): void
    {
        $this->publish('user_1', [1, 2, 3]);
        $broker = $this->broker()->subscribe('user.1', $this->collect());
        self::assertSame(0, $this->drain($broker), 'skipped is not handled');
        self::assertSame(3, $broker->stats()['skipped']);
        $broker->close();
        self::assertSame([3], array_values($this->committed($this->channelTopic('user.1'))));
    }

    public function testMessagesOfAnotherEnvironmentAreSkipped(): void
    {
        // The prefix "p" with the channel "a_user.1" writes to p_a_user_1, which the prefix "p_a" reads as "user.1".
        $there = $this->broker();
        $there->publish('a_user.1', Message::event(null, 'theirs', 1));
        $here = $this->broker(['topic_prefix' => $this->prefix . '_a']);
        $here->publish('user.1', Message::event(null, 'ours', 1));
        Realtime::flush();
        for ($i = 0; $i < 3; $i++) {
            $there->publish('a_user.1', Message::event(null, 'theirs', 1));
        }
        Realtime::flush();

        $here->subscribe('user.*', $this->collect());
        self::assertSame(1, $this->drain($here));
        self::assertSame('ours', $this->got[0]->getEvent());
        self::assertSame(4, $here->stats()['topic_mismatch']);
        self::assertSame(0, $here->stats()['skipped']);
        self::assertSame(1, substr_count($this->logged(), 'topic_mismatch'), $this->logged());
        self::assertStringContainsString('a_user.1', $this->logged());
    }

    public function testAnEnvelopeOnAnotherTopicIsNotDispatched(): void
    {
        $forged = Message::event('admin.1', 'grant', ['all' => true])->toJson();
        $this->send($this->channelTopic('user.1'), [$forged]);
        $this->publish('user.1', ['true']);
        $broker = $this->broker()->subscribe('user.1', $this->collect())->subscribe('admin.1', $this->collect());
        self::assertSame(1, $this->drain($broker));
        self::assertSame(['true'], $this->data());
        self::assertSame(1, $broker->stats()['topic_mismatch']);
    }

    public function testWithoutAChannelItBelongsToTheTopicsOnlySubscription(): void
    {
        $this->send($this->channelTopic('user.1'), ['{"id":"x","type":"event","event":"e","data":5}']);
        $broker = $this->broker()->subscribe('user.1', $this->collect())->subscribe('other', $this->collect());
        self::assertSame(1, $this->drain($broker));
        self::assertNull($this->got[0]->getChannel());
        self::assertSame('e', $this->got[0]->getEvent());
        self::assertSame(5, $this->got[0]->getData());
    }

    public function testWithoutAChannelAndWithSeveralSubscriptionsItIsSkipped(): void
    {
        $this->send($this->channelTopic('user.1'), ['{"id":"x","type":"event","event":"e","data":5}']);
        $broker = $this->broker()->subscribe('user.1', $this->collect())->subscribe('user_1', $this->collect());
        self::assertSame(0, $this->drain($broker));
        self::assertSame(1, $broker->stats()['skipped']);
    }

    public function testGroupedTopics(): void
    {
        $config = [
            'topic_strategy' => 'grouped',
            'topic_mapping' => ['user.*' => "$this->prefix.user", 'order.**' => "$this->prefix.order"],
            'default_topic' => "$this->prefix.rest",
        ];
        $broker = $this->broker($config);
        foreach (['user.1', 'user.2', 'order.7.lines', 'news'] as $channel) {
            $broker->publish($channel, Message::event(null, 'e', $channel));
        }
        Realtime::flush();
        $broker->subscribe('user.1', $this->collect())
            ->subscribe('order.**', $this->collect())
            ->subscribe('news', $this->collect());
        self::assertSame(3, $this->drain($broker));
        $topics = [];
        foreach ($this->got as $message) {
            $topics[(string) $message->getChannel()] = $message->getTopic();
        }
        ksort($topics);
        self::assertSame([
            'news' => "$this->prefix.rest",
            'order.7.lines' => "$this->prefix.order",
            'user.1' => "$this->prefix.user",
        ], $topics);
        self::assertSame(1, $broker->stats()['skipped'], 'user.2 shares a topic with user.1');
    }

    public function testAGroupedChannelInTheWrongTopicIsAMismatch(): void
    {
        $config = ['topic_strategy' => 'grouped', 'topic_mapping' => ['user.*' => "$this->prefix.user"]];
        $this->send("$this->prefix.user", [Message::event('news', 'e')->toJson()]);
        $broker = $this->broker($config)->subscribe('user.*', $this->collect());
        self::assertSame(0, $this->drain($broker));
        self::assertSame(1, $broker->stats()['topic_mismatch']);
    }

    public function testAnyEventNameAndMissingOrUnknownKeys(): void
    {
        $this->send($this->channelTopic('user.1'), [
            '{"id":"1","type":"event","channel":"user.1","event":"never heard of \u00e9\/","data":1,"timestamp":5}',
            '{"channel":"user.1","event":""}',
            '{"timestamp":7.5,"data":[1],"event":"e","channel":"user.1","type":"ping","id":"3","extra":{"a":[1]}}',
        ]);
        self::assertSame(3, $this->drain($this->broker()->subscribe('user.1', $this->collect())));
        self::assertSame(['never heard of é/', '', 'e'], array_map(static fn ($m) => $m->getEvent(), $this->got));
        self::assertSame(['event', 'event', 'ping'], array_map(static fn ($m) => $m->getType(), $this->got));
        self::assertNull($this->got[1]->getData());
        self::assertSame([1], $this->got[2]->getData());
        self::assertSame(7, $this->got[2]->getTimestamp());
    }

    public function testUnreadDataIsNeverDecoded(): void
    {
        $this->send($this->channelTopic('user.1'), ['{"id":"1","channel":"user.1","event":"e","data":{"a":tru}}']);
        self::assertSame(1, $this->drain($this->broker()->subscribe('user.1', $this->collect())));
        self::assertSame('e', $this->got[0]->getEvent());
        try {
            $this->got[0]->getData();
            self::fail('Broken JSON was decoded.');
        } catch (EncodingException $e) {
            $place = sprintf('topic "%s", partition 0, offset 0', $this->channelTopic('user.1'));
            self::assertStringContainsString($place, $e->getMessage());
        }
    }

    public function testBrokenDataReadInACallbackIsPermanent(): void
    {
        $this->publish('user.1', ['good']);
        $this->send($this->channelTopic('user.1'), ['{"id":"1","channel":"user.1","event":"e","data":[1 2]}'], 3);
        $broker = $this->broker()->subscribe('user.1', static fn (Message $message) => $message->getData());
        self::assertSame(2, $this->drain($broker));
        self::assertSame([0, 1], [$broker->stats()['retries'], $broker->stats()['dead_lettered']]);
        $broker->close();
        $letter = $this->consumeAll("dlq.{$this->channelTopic('user.1')}", 1)[0];
        self::assertSame(EncodingException::class, $letter->getHeaders()['x-exception-class']);
        self::assertStringContainsString('partition 3, offset', $letter->getHeaders()['x-exception-message']);
        self::assertSame('1', $letter->getHeaders()['x-attempts']);
    }

    private function collect(): Closure
    {
        return function (Message $message): void {
            $this->got[] = $message;
        };
    }

    /** @return list<mixed> */
    private function data(): array
    {
        return array_map(static fn (Message $message) => $message->getData(), $this->got);
    }
}
