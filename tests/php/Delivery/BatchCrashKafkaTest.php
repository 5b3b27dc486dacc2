<?php

/**
 * A batch callback that ends its process next to other subscriptions on the same topic: every record is handled by the
 * workers that follow, whatever the group had committed before.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

final class BatchCrashKafkaTest extends DeliveryTestCase
{
    /** @dataProvider deliveries */
    public function testNoRecordIsSkippedInANewGroup(string $delivery): void
    {
        $topic = $this->createTopic($this->topic(), 4);
        $result = $this->createTopic($this->topic('results'), 1);
        $expected = [];
        $send = static function (string $channel, string $name, int $partition) use ($topic, &$expected): void {
            Realtime::broker()->send($topic, Message::event($channel, 'e', $name)->toJson(), $name, [], $partition);
            $expected[] = $name;
        };
        foreach ([1, 2, 3] as $partition) {
            $send('x', "x-$partition", $partition);
            $send('y', "y-$partition", $partition);
        }
        foreach (range(0, 9) as $n) {
            $send('x', "x-0-$n", 0);
        }
        Realtime::flush();
        $config = var_export([
            'delivery' => $delivery, 'topic_strategy' => 'grouped', 'default_topic' => $topic, 'max_retries' => 20,
        ], true);
        $script = <<<PHP
            \$broker = new Broker($config);
            \$notes = fopen(getenv('TEST_NOTES'), 'a');
            \$first = getenv('TEST_FIRST') === '1';
            \$note = function (Message \$message) use (\$broker, \$notes): void {
                fwrite(\$notes, \$message->getData() . "\\n");
                \$broker->send('$result', \$message->getData());
            };
            \$broker->subscribeBatch('x', function (array \$messages) use (\$note, \$first): void {
                if (\$first && count(\$messages) > 5) {
                    exit(7);
                }
                array_map(\$note, \$messages);
            });
            \$broker->subscribe('y', \$note);
            \$broker->consume(stopWhenEmpty: true);
            echo 'ended';
            PHP;
        $crashed = false;
        for ($run = 0; $run < 10; $run++) {
            $ended = $this->runPhp($script, ['timeout' => 30.0, 'env' => ['TEST_FIRST' => $crashed ? '0' : '1']]);
            $crashed = $crashed || $ended->exitCode === 7;
            if ($ended->stdout === 'ended') {
                break;
            }
        }
        self::assertSame('ended', $ended->stdout, $ended->describe());
        self::assertTrue($crashed, 'the batch was large enough to crash on');
        self::assertEqualsCanonicalizing($expected, array_values(array_unique($this->noted())));
        $values = array_map(static fn (Message $message) => $message->getPayload(), $this->consumeAll($result, 16));
        if ($delivery === 'exactly-once') {
            self::assertEqualsCanonicalizing($expected, $values, 'each result once');
        } else {
            self::assertEqualsCanonicalizing($expected, array_values(array_unique($values)));
        }
    }

    /** @return array<string, array{string}> */
    public static function deliveries(): array
    {
        return ['at-least-once' => ['at-least-once'], 'exactly-once' => ['exactly-once']];
    }
}
