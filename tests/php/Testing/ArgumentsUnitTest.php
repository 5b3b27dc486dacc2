<?php

/**
 * Arguments that the extension refuses or converts: the stubs and the fake do the same. Runs with and without it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Testing;

use Error;
use Exception;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use ReflectionClass;
use Throwable;
use Toporia\Realtime\Exception\BatchException;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Testing\RealtimeFake;
use Toporia\Realtime\Testing\ResetsRealtime;
use TypeError;

final class ArgumentsUnitTest extends TestCase
{
    use ResetsRealtime;

    /**
     * @dataProvider refusedCalls
     *
     * @param class-string<Throwable> $expected
     */
    #[DataProvider('refusedCalls')]
    public function testIsRefused(string $expected, callable $call): void
    {
        $fake = Realtime::fake();
        try {
            $call($fake);
        } catch (Throwable $e) {
            self::assertSame($expected, get_class($e), $e->getMessage());
            self::assertSame([], $fake->sent());

            return;
        }
        self::fail('Nothing was thrown.');
    }

    /** @return iterable<string, array{class-string<Throwable>, callable}> */
    public static function refusedCalls(): iterable
    {
        $send = static fn (mixed ...$args) => static fn () => Realtime::broadcast(...$args);
        $of = static fn (array $array) => static fn () => Message::fromArray($array);
        $json = static fn (string $json) => static fn () => Message::fromJson($json);
        $headers = static fn (array $headers) => static fn () => Message::event('a', 'b')->withHeaders($headers);

        yield 'an empty event' => [ConfigurationException::class, $send('a', '')];
        yield 'an event that is not UTF-8' => [EncodingException::class, $send('a', "\xff")];
        yield 'the same in a message' => [EncodingException::class, static fn () => Message::event('a', "\xff")];
        yield 'a channel that is not UTF-8' => [InvalidChannelException::class, $send("\xff", 'e')];
        yield 'null among the channels' => [TypeError::class, $send(['a', null], 'e')];
        yield 'a list among the channels' => [TypeError::class, $send(['a', ['b']], 'e')];
        yield 'no channels' => [InvalidChannelException::class, $send([], 'e')];
        yield 'a socket id without a dot' => [ConfigurationException::class, $send('a', 'e', except: 'bad')];
        yield 'an empty socket id' => [ConfigurationException::class, $send('a', 'e', except: '')];
        yield 'a socket id with a newline' => [ConfigurationException::class, $send('a', 'e', except: "1.2\n")];
        yield 'a header without a name' => [ConfigurationException::class, $send('a', 'e', headers: ['' => 'x'])];
        yield 'a header name that is not UTF-8' => [ConfigurationException::class, $headers(["\xff" => 'x'])];
        yield 'text as the headers' => [TypeError::class, $send('a', 'e', headers: 'x')];
        yield 'the same of a message' => [TypeError::class, static fn () => Message::event('a', 'b')->withHeaders('x')];
        yield 'text as an array' => [TypeError::class, static fn () => Message::fromArray('x')];
        yield 'an array as JSON' => [TypeError::class, static fn () => Message::fromJson([])];
        yield 'a message without a channel' => [InvalidChannelException::class, static fn () => Message::event('', 'e')];
        yield 'an unprintable channel' => [InvalidChannelException::class, static fn () => Message::event("a\0", 'e')];
        yield 'NAN as the data' => [EncodingException::class, $of(['event' => 'e', 'data' => NAN])];
        yield 'a list as the event' => [EncodingException::class, $of(['event' => []])];
        yield 'an object as a header' => [TypeError::class, $headers(['a' => new \stdClass()])];
        yield 'a list in a list of headers' => [TypeError::class, $headers(['a' => [['b']]])];

        yield 'a list as the id' => [EncodingException::class, $of(['id' => []])];
        yield 'an event that is not UTF-8, in an array' => [EncodingException::class, $of(['event' => "\xff"])];
        yield 'a timestamp as text, in an array' => [EncodingException::class, $of(['timestamp' => '5'])];
        yield 'NAN as the timestamp' => [EncodingException::class, $of(['timestamp' => NAN])];
        yield 'a timestamp with a space' => [EncodingException::class, $json('{"timestamp":" 5"}')];
        yield 'a timestamp beyond 64 bits' => [EncodingException::class, $json('{"timestamp":1e30}')];
        yield 'data that is no JSON' => [EncodingException::class, $json('{"data":tru}')];
        yield 'a number as the id, in JSON' => [EncodingException::class, $json('{"id":5}')];

        yield 'an unknown log level' => [ConfigurationException::class, static fn () => Realtime::log('x', 'text')];
    }

    /**
     * @dataProvider callsRefusedByTheFake
     *
     * @param class-string<Throwable> $expected
     */
    #[DataProvider('callsRefusedByTheFake')]
    public function testIsRefusedByTheFakeAsByABroker(string $expected, callable $call): void
    {
        $this->testIsRefused($expected, $call);
    }

    /** @return iterable<string, array{class-string<Throwable>, callable}> */
    public static function callsRefusedByTheFake(): iterable
    {
        $sent = static fn (mixed ...$args) => static fn (RealtimeFake $fake) => $fake->send(...$args);
        $batch = static fn (mixed ...$args) => static fn (RealtimeFake $fake) => $fake->publishBatch(...$args);
        $consume = static fn (int ...$args) => static fn (RealtimeFake $fake) =>
            $fake->subscribe('a', static fn () => null)->consume(...$args);

        yield 'an empty topic' => [InvalidChannelException::class, $sent('', 'x')];
        yield 'a topic with a space' => [InvalidChannelException::class, $sent('a b', 'x')];
        yield 'a topic of dots' => [InvalidChannelException::class, $sent('..', 'x')];
        yield 'a long topic' => [InvalidChannelException::class, $sent(str_repeat('t', 250), 'x')];
        yield 'a negative partition' => [ConfigurationException::class, $sent('t', 'x', null, [], -1)];
        yield 'a negative timeout' => [ConfigurationException::class, $consume(-1)];
        yield 'a negative timeout of poll()' => [
            ConfigurationException::class,
            static fn (RealtimeFake $fake) => $fake->subscribe('a')->poll(-1),
        ];
        yield 'a negative timeout of flush()' => [ConfigurationException::class, static fn () => Realtime::flush(-1)];
        yield 'a negative timeout of a batch' => [ConfigurationException::class, $batch([['a', 'e']], -1)];
        yield 'an unknown key in a batch' => [BatchException::class, $batch([['channel' => 'a', 'evnt' => 'e']])];
        yield 'a sixth value in a batch' => [BatchException::class, $batch([['a', 'e', 1, null, [], 'x']])];
        yield 'an empty batch' => [ConfigurationException::class, $consume(10, 0)];
        yield 'a negative number of messages' => [ConfigurationException::class, $consume(10, 1, -1)];
    }

    public function testScalarsBecomeText(): void
    {
        $fake = Realtime::fake();
        Realtime::broadcast([1, 2.5, true], 'e');
        $channels = array_map(static fn (Message $message) => $message->getChannel(), $fake->broadcasts());
        self::assertSame(['1', '2.5', '1'], $channels);

        $message = Message::fromArray(['id' => 5, 'channel' => 1.5, 'event' => true, 'timestamp' => 7.9]);
        self::assertSame(['5', '1.5', '1', 7], [
            $message->getId(), $message->getChannel(), $message->getEvent(), $message->getTimestamp(),
        ]);
    }

    public function testHeadersCanBeRepeatedAndThoseOfTheExtensionAreLeftOut(): void
    {
        $message = Message::event('a', 'b')->withHeaders([
            'tag' => ['x', 5, null],
            'none' => [],
            'number' => 1,
            'x-realtime-hops' => '3',
            'x-realtime-public' => '1',
            'x-original-topic' => 't',
            'x-attempts' => '4',
        ]);
        self::assertSame(['tag' => null, 'number' => '1', 'x-realtime-public' => '1'], $message->getHeaders());
        self::assertSame(['x', '5', null], $message->getHeaderValues('tag'));
        self::assertSame([], $message->getHeaderValues('none'));
    }

    public function testTheFakeGetsAllValuesOfRepeatedHeaders(): void
    {
        $fake = Realtime::fake();
        $headers = ['tag' => ['x', 5, null], 'other' => 'z'];
        $expected = ['tag' => ['x', '5', null], 'other' => 'z'];
        Realtime::broadcast('a', 'e', headers: $headers);
        $fake->publish('a', Message::event('a', 'e')->withHeaders($headers));
        $fake->publish('a', Message::event('a', 'e'), null, $headers + ['x-realtime-hops' => '3']);
        self::assertSame([$expected, $expected, $expected], array_column($fake->sent(), 'headers'));
    }

    public function testABroadcastThatRepeatsTheCurrentMessageReturnsItsId(): void
    {
        $fake = Realtime::fake()->receive('a', 'e', ['n' => 1]);
        $fake->subscribe('a', static function (Message $message): void {
            self::assertSame($message->getId(), Realtime::broadcast('a', 'e', ['n' => 1.0]));
            self::assertNotSame($message->getId(), Realtime::broadcast(['a', 'b'], 'e', ['n' => 1]));
        });
        self::assertSame(1, $fake->consume());
        $fake->assertBroadcastTimes('**', null, 1);
    }

    public function testMessagesAndBrokersCanBeNeitherClonedNorSerialized(): void
    {
        self::assertFalse((new ReflectionClass(Message::class))->isInstantiable());
        Realtime::fake();
        foreach ([Message::event('a', 'e'), Realtime::broker()] as $object) {
            $class = get_class($object);
            $calls = [
                'Error' => static fn () => clone $object,
                "Serialization of '$class' is not allowed" => static fn () => serialize($object),
                "Unserialization of '$class' is not allowed"
                    => static fn () => unserialize('O:' . strlen($class) . ":\"$class\":0:{}"),
            ];
            foreach ($calls as $expected => $call) {
                try {
                    $call();
                    self::fail("$class: nothing was thrown instead of: $expected");
                } catch (Error | Exception $e) {
                    self::assertContains($expected, [get_class($e), $e->getMessage()]);
                }
            }
        }
    }

    public function testAnEnvelopeWithoutAnIdKeepsTheOneItGets(): void
    {
        foreach (['{"event":"e"}', '{"id":"","event":"e","timestamp":5}', '{"id":"m-1","event":"e"}'] as $json) {
            $message = Message::fromJson($json);
            self::assertNotSame('', $message->getId());
            $again = Message::fromJson($message->toJson());
            self::assertSame([$message->getId(), $message->getTimestamp()], [$again->getId(), $again->getTimestamp()]);
        }
        self::assertStringContainsString('"data":1.0', Message::fromJson('{"event":"e","data":1.0}')->toJson());
        $whole = ' {"event":"e", "id":"m-1","timestamp":"5"} ';
        self::assertSame($whole, Message::fromJson($whole)->toJson());
    }
}
