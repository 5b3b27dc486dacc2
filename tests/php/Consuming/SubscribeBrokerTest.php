<?php

/**
 * Which callback gets a message: exactly one; subscriptions that are added and removed, also during consume().
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use Closure;
use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use TypeError;

final class SubscribeBrokerTest extends ConsumingTestCase
{
    /** @var list<string> who got which channel */
    private array $got = [];

    public function testAnExactChannelAndNoOther(): void
    {
        $this->publishTo('user.1', 'user.2', 'user.10', 'user.1.orders');
        $broker = $this->broker()->subscribe('user.1', $this->by('a'));
        self::assertSame(1, $this->drain($broker));
        self::assertSame(['a user.1'], $this->got);
    }

    public function testOneStarMatchesOneSegment(): void
    {
        $this->publishTo('user.1', 'user.22', 'user.1.orders', 'users.1', 'user');
        $this->drain($this->broker()->subscribe('user.*', $this->by('a')));
        self::assertEqualsCanonicalizing(['a user.1', 'a user.22'], $this->got);
    }

    public function testAStarInTheMiddle(): void
    {
        $this->publishTo('user.1.orders', 'user.2.orders', 'user.1.mails', 'user.1.2.orders');
        $this->drain($this->broker()->subscribe('user.*.orders', $this->by('a')));
        self::assertEqualsCanonicalizing(['a user.1.orders', 'a user.2.orders'], $this->got);
    }

    public function testTwoStarsMatchAnySegments(): void
    {
        $this->publishTo('user.1', 'user.1.orders', 'user.1.orders.new', 'admin.1');
        $this->drain($this->broker()->subscribe('user.**', $this->by('a')));
        self::assertEqualsCanonicalizing(['a user.1', 'a user.1.orders', 'a user.1.orders.new'], $this->got);
    }

    public function testEveryChannelOfThePrefix(): void
    {
        $this->publishTo('user.1', 'admin');
        $this->drain($this->broker()->subscribe('**', $this->by('a')));
        self::assertEqualsCanonicalizing(['a user.1', 'a admin'], $this->got);
    }

    public function testTheExactSubscriptionComesBeforePatterns(): void
    {
        $this->publishTo('user.1', 'user.2');
        $broker = $this->broker()
            ->subscribe('user.**', $this->by('any'))
            ->subscribe('user.*', $this->by('segment'))
            ->subscribe('user.1', $this->by('exact'));
        self::assertSame(2, $this->drain($broker), 'one callback for each message');
        self::assertEqualsCanonicalizing(['exact user.1', 'any user.2'], $this->got);
    }

    public function testAmongPatternsTheFirstSubscribedWins(): void
    {
        $this->publishTo('user.1');
        $broker = $this->broker()->subscribe('user.*', $this->by('first'))->subscribe('user.**', $this->by('second'));
        $this->drain($broker);
        self::assertSame(['first user.1'], $this->got);
    }

    public function testSubscribingAgainReplacesTheCallbackInPlace(): void
    {
        $this->publishTo('user.1');
        $broker = $this->broker()
            ->subscribe('user.*', $this->by('old'))
            ->subscribe('user.**', $this->by('other'))
            ->subscribe('user.*', $this->by('new'));
        $this->drain($broker);
        self::assertSame(['new user.1'], $this->got);
    }

    public function testUnsubscribe(): void
    {
        $this->publishTo('user.1', 'user.2');
        $broker = $this->broker()
            ->subscribe('user.1', $this->by('one'))
            ->subscribe('user.2', $this->by('two'))
            ->unsubscribe('user.1')
            ->unsubscribe('never.subscribed');
        $this->drain($broker);
        self::assertSame(['two user.2'], $this->got);
    }

    public function testUnsubscribedFromItsOwnCallbackItGetsNoMore(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $this->publish('user.2', [1]);
        $seen = [];
        $broker = $this->broker();
        $broker->subscribe('user.1', static function (Message $message) use ($broker, &$seen): void {
            $seen[] = $message->getData();
            $broker->unsubscribe('user.1');
        });
        $broker->subscribe('user.2', $this->by('two'));
        $this->drain($broker);
        self::assertSame([1], $seen);
        self::assertSame(['two user.2'], $this->got);
    }

    public function testTheLastOneMayBeUnsubscribedFromItsOwnCallback(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $seen = [];
        $broker = $this->broker();
        $broker->subscribe('user.1', static function (Message $message) use ($broker, &$seen): void {
            $seen[] = $message->getData();
            $broker->unsubscribe('user.1');
        });
        self::within(1.0, $broker)->consume();
        self::assertSame([1], $seen);
        $broker->close();
    }

    public function testReplacedFromItsOwnCallback(): void
    {
        $this->publish('user.1', [1, 2, 3]);
        $broker = $this->broker();
        $seen = [];
        $new = static function (Message $message) use (&$seen): void {
            $seen[] = 'new ' . $message->getData();
        };
        $broker->subscribe('user.1', static function (Message $message) use ($broker, $new, &$seen): void {
            $seen[] = 'old ' . $message->getData();
            $broker->subscribe('user.1', $new);
        });
        $this->drain($broker);
        self::assertSame(['old 1', 'new 2', 'new 3'], $seen);
    }

    public function testSubscribedWhileConsumingItGetsMessages(): void
    {
        $this->publishTo('user.1', 'user.2');
        $broker = $this->broker();
        $broker->subscribe('user.1', function (Message $message) use ($broker): void {
            $this->got[] = 'one user.1';
            $broker->subscribe('user.2', $this->by('two'));
        });
        self::within(15.0, $broker)->consume(maxMessages: 2);
        self::assertSame(['one user.1', 'two user.2'], $this->got);
    }

    public function testACallbackMayBeAnyCallable(): void
    {
        $this->publishTo('a', 'b', 'c', 'd');
        $broker = $this->broker()
            ->subscribe('a', [$this, 'note'])
            ->subscribe('b', [self::class, 'noteStatically'])
            ->subscribe('c', $this)
            ->subscribe('d', $this->note(...));
        self::assertSame(4, $this->drain($broker));
        self::assertEqualsCanonicalizing(['note a', 'static b', 'invoke c', 'note d'], $this->got);
    }

    public function testANonCallableIsATypeError(): void
    {
        $this->expectException(TypeError::class);
        $this->expectExceptionMessage('Broker::subscribe(): Argument #2 ($callback) must be of type');
        // @phpstan-ignore-next-line that is what is tested
        $this->broker()->subscribe('user.1', 'no_such_function_anywhere');
    }

    public function testSubscribeReturnsTheBroker(): void
    {
        $broker = $this->broker();
        self::assertSame($broker, $broker->subscribe('a', $this->by('a')));
        self::assertSame($broker, $broker->subscribeBatch('b', $this->by('b')));
        self::assertSame($broker, $broker->subscribeTopic('c', $this->by('c')));
        self::assertSame($broker, $broker->unsubscribe('a'));
    }

    public function testAPatternWithAnExactChannelIsDispatchedAsFast(): void
    {
        $this->publishTo('user.1', 'user.2');
        $broker = $this->broker()->subscribe('user.*', $this->by('pattern'))->subscribe('user.1', $this->by('exact'));
        $start = microtime(true);
        self::assertSame(2, self::within(15.0, $broker)->consume(maxMessages: 2));
        self::assertLessThan(1.5, microtime(true) - $start);
    }

    /** @dataProvider badChannels */
    #[DataProvider('badChannels')]
    public function testBadNamesAreRefused(string $channel): void
    {
        $this->expectException(InvalidChannelException::class);
        $this->broker()->subscribe($channel, $this->by('a'));
    }

    /** @return array<string, array{string}> */
    public static function badChannels(): array
    {
        return [
            'empty' => [''],
            'unprintable' => ["user\n1"],
            'too long for a topic' => [str_repeat('x', 250)],
        ];
    }

    private static self $current;

    public function note(Message $message): void
    {
        $this->got[] = 'note ' . $message->getChannel();
    }

    public static function noteStatically(Message $message): void
    {
        self::$current->got[] = 'static ' . $message->getChannel();
    }

    public function __invoke(Message $message): void
    {
        $this->got[] = 'invoke ' . $message->getChannel();
    }

    protected function setUp(): void
    {
        parent::setUp();
        self::$current = $this;
    }

    private function by(string $name): Closure
    {
        return function (Message $message) use ($name): void {
            $this->got[] = $name . ' ' . $message->getChannel();
        };
    }

    private function publishTo(string ...$channels): void
    {
        foreach ($channels as $channel) {
            $this->publish($channel, [null]);
        }
    }
}
