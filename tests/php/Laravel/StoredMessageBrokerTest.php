<?php

/**
 * A message in Laravel's queue: what a queued handler gets is what the record had.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Laravel\Queue\StoredMessage;
use Toporia\Realtime\Message;
use Toporia\Realtime\Tests\Support\BrokerTestCase;

final class StoredMessageBrokerTest extends BrokerTestCase
{
    /**
     * @dataProvider records
     *
     * @param array<string, string|null|list<string|null>> $headers
     */
    #[DataProvider('records')]
    public function testAStoredMessageIsTheOneOfItsRecord(string $value, ?string $key, array $headers): void
    {
        $broker = $this->broker();
        $broker->send($this->createTopic($this->channelTopic('user.1')), $value, $key, $headers, 0);
        $checked = 0;
        $broker->subscribe('user.1', static function (Message $message) use (&$checked): void {
            // As a queue stores it: as text.
            $text = json_encode(['job' => serialize(StoredMessage::of($message))], JSON_THROW_ON_ERROR);
            $stored = unserialize(json_decode($text, true)['job']);
            self::assertInstanceOf(StoredMessage::class, $stored);
            $other = $stored->message();
            self::assertSame($message->getId(), $other->getId());
            self::assertSame($message->getKey(), $other->getKey());
            self::assertSame($message->getHeaders(), $other->getHeaders());
            foreach (array_keys($message->getHeaders()) as $name) {
                self::assertSame($message->getHeaderValues((string) $name), $other->getHeaderValues((string) $name));
            }
            self::assertSame($message->getChannel(), $other->getChannel());
            self::assertSame($message->getEvent(), $other->getEvent());
            self::assertSame($message->getData(), $other->getData());
            $checked++;
        });
        $broker->consume(5000, 1, 1);
        self::assertSame(1, $checked, (string) json_encode($broker->stats()));
    }

    /** @return array<string, array{string, string|null, array<string, string|null|list<string|null>>}> */
    public static function records(): array
    {
        $envelope = '{"id":"7","type":"event","channel":"user.1","event":"paid","data":{"a":[1.5,"é"]},"timestamp":5}';

        return [
            'repeated headers' => [$envelope, 'k', ['trace' => ['a', 'b', 'a'], 'one' => 'x']],
            'a header without a value, and an empty one' => [$envelope, 'k', ['null' => null, 'both' => [null, '', 'x']]],
            'a number as the name of a header' => [$envelope, 'k', ['0' => 'a', '7' => ['b', 'c']]],
            'bytes that are not UTF-8' => [$envelope, "\xff\0", ['bytes' => ["\xfe", "\0"]]],
            'no key and no headers' => [$envelope, null, []],
            'an envelope without an id' => ['{"channel":"user.1","event":"paid"}', null, []],
            'an empty envelope' => ['{}', null, ['trace' => ['a', 'b']]],
            'an empty envelope with white space' => [" { }\n", null, []],
        ];
    }
}
