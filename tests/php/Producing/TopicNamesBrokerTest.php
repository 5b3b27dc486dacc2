<?php

/**
 * The topic of a channel with each strategy, and the names that are refused.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Producing;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class TopicNamesBrokerTest extends ProducingTestCase
{
    public function testEveryByteOutsideLettersDigitsAndMinusBecomesAnUnderscore(): void
    {
        $names = [
            'user.1' => 'user_1',
            'user_1' => 'user_1',
            'private-user.1' => 'private-user_1',
            'Room.A' => 'Room_A',
            'é/x' => '___x',
            'a b' => 'a_b',
            'a:b@c,d;e=f' => 'a_b_c_d_e_f',
        ];
        $expected = array_map(fn (string $name) => "{$this->prefix}_$name", $names);
        self::assertSame($expected, $this->topicsOf(array_keys($names)));
    }

    public function testTheDefaultPrefixIsTheGuides(): void
    {
        self::assertSame(['user.1' => 'realtime_user_1'], $this->topicsOf(['user.1'], ['topic_prefix' => '']));
    }

    public function testDotsStayWithTheirStrategy(): void
    {
        self::assertSame(
            ['user.1/x' => "{$this->prefix}_user.1_x"],
            $this->topicsOf(['user.1/x'], ['topic_strategy' => 'one-per-channel-dots'])
        );
    }

    public function testGroupedUsesTheFirstMatchingPattern(): void
    {
        $config = [
            'topic_strategy' => 'grouped',
            'topic_mapping' => [
                'user.vip.*' => 'app.vip',
                'user.**' => ['topic' => 'app.user', 'partitions' => 3],
                'order.*' => 'app.order',
            ],
            'default_topic' => 'app.rest',
        ];
        $expected = ['user.vip.1' => 'app.vip', 'user.1' => 'app.user', 'user.1.mail' => 'app.user',
            'order.7' => 'app.order', 'order.7.line' => 'app.rest', 'news' => 'app.rest'];
        self::assertSame($expected, $this->topicsOf(array_keys($expected), $config));
    }

    public function testChannelsThatShareATopicKeepTheirNames(): void
    {
        Realtime::broadcast('user.a', 'e', 1);
        Realtime::broadcast('user_a', 'e', 2);
        Realtime::flush();
        $found = [];
        foreach ($this->consumeAll("{$this->prefix}_user_a", 2) as $message) {
            $envelope = (array) json_decode((string) $message->getPayload(), true);
            $found[(string) $message->getKey()] = [$envelope['channel'], $envelope['data']];
        }
        ksort($found);
        self::assertSame(['user.a' => ['user.a', 1], 'user_a' => ['user_a', 2]], $found);
    }

    /** @dataProvider refused */
    #[DataProvider('refused')]
    public function testInvalidNames(string $channel, string $why): void
    {
        $before = Realtime::stats()['messages_produced'];
        $broker = $this->broker();
        $calls = [
            static fn () => Realtime::broadcast($channel, 'e'),
            static fn () => $broker->publish($channel, Message::event('fine', 'e')),
        ];
        foreach ($calls as $call) {
            $message = self::thrown(InvalidChannelException::class, $call);
            self::assertStringContainsString($why, $message);
            self::assertSame(1, preg_match('//u', $message), 'the message is UTF-8');
            self::assertDoesNotMatchRegularExpression('/[\x00-\x1f]/', $message, 'and printable');
        }
        self::assertSame($before, Realtime::stats()['messages_produced']);
    }

    /** @return array<string, array{string, string}> */
    public static function refused(): array
    {
        return [
            'empty' => ['', 'empty'],
            'too long by itself' => [str_repeat('a', 244), '244 bytes'],
            'too long with the prefix' => [str_repeat('b', 243), '243 bytes'],
            'a line end' => ["user\n1", 'U+000A at position 5'],
            'a null byte' => ["user.1\0", 'U+0000 at position 7'],
            'a zero-width space' => ["user\u{200b}1", 'U+200B at position 5'],
            'a right-to-left override' => ["\u{202e}user", 'U+202E at position 1'],
            'invalid UTF-8' => ["user.\xff", 'UTF-8'],
            'a pattern' => ['user.*', "'*'"],
            'reserved' => ['x.__presence', 'reserved'],
            'reserved, written otherwise' => ['..client', 'reserved'],
        ];
    }

    public function testTheLongestNameThatFits(): void
    {
        $channel = str_repeat('c', 245 - strlen("{$this->prefix}_"));
        Realtime::broadcast($channel, 'e');
        Realtime::flush();
        self::assertSame($channel, $this->envelopes($channel)[0]['channel']);
        $this->expectException(InvalidChannelException::class);
        Realtime::broadcast($channel . 'c', 'e');
    }

    /** @dataProvider refusedTopics */
    #[DataProvider('refusedTopics')]
    public function testInvalidRawTopics(string $topic, string $why): void
    {
        $broker = $this->broker();
        self::assertStringContainsString(
            $why,
            self::thrown(InvalidChannelException::class, static fn () => $broker->send($topic, 'x'))
        );
    }

    /** @return array<string, array{string, string}> */
    public static function refusedTopics(): array
    {
        return [
            'empty' => ['', 'empty'],
            'a slash' => ['a/b', "'/' at position 2"],
            'a space' => ['a b', 'a space at position 2'],
            'not ASCII' => ['tin-tức', "'ứ' at position 6"],
            'too long' => [str_repeat('t', 250), '250 bytes'],
            'a dot' => ['.', "'.'"],
            'two dots' => ['..', "'..'"],
            'a null byte' => ["a\0b", 'U+0000'],
            'invalid UTF-8' => ["a\xffb", 'UTF-8'],
        ];
    }

    /**
     * The target topics of broadcasts to these channels; in a process of its own, without a broker.
     *
     * @param list<string> $channels
     * @param array<string, mixed> $config
     *
     * @return array<string, string>
     */
    private function topicsOf(array $channels, array $config = []): array
    {
        $config += ['topic_prefix' => $this->prefix, 'brokers' => $this->deadAddress(), 'shutdown_flush_ms' => 0];
        $code = '[$config, $channels] = ' . var_export([$config, $channels], true) . ';' . <<<'PHP'
            Realtime::configure(['brokers' => ['kafka' => $config]]);
            foreach ($channels as $channel) {
                $ids[$channel] = Realtime::broadcast($channel, 'e');
            }
            try {
                Realtime::flush(1);
            } catch (Toporia\Realtime\Exception\DeliveryException $e) {
                $topics = array_column($e->getFailed(), 'topic', 'id');
                echo json_encode(array_map(fn ($id) => $topics[$id], $ids));
            }
            PHP;

        return (array) $this->runPhp($code, ['env' => ['KAFKA_TOPIC_PREFIX' => null]])->json();
    }
}
