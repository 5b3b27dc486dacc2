<?php

/**
 * Forwards records to a topic that refuses the results of two of them.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Delivery;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Realtime;

abstract class RefusedResultsTestCase extends DeliveryTestCase
{
    protected function tearDown(): void
    {
        // The first results of records that were read again may be refused later: the next flush() of this process
        // reports that, and here it would be the one of the next test.
        try {
            Realtime::flush();
        } catch (DeliveryException) {
        }
        parent::tearDown();
    }

    /**
     * A1 to A20, where two have results that are refused.
     */
    protected function produceNumbers(int $count): void
    {
        $records = [];
        for ($n = 0; $n < $count; $n++) {
            $records[] = self::record($n);
        }
        $this->produce($records);
    }

    protected static function record(int $n): string
    {
        return sprintf(in_array($n, [7, 15], true) ? 'bad%02d' : 'A%02d', $n);
    }

    /** @return list<string> */
    protected function goodNumbers(int $count): array
    {
        $records = array_map(self::record(...), range(0, $count - 1));

        return array_values(array_filter($records, static fn (string $record) => $record[0] === 'A'));
    }

    /** The topic of the results: one that takes no record without a key, or none over 20 kB. */
    protected function refusing(string $refusal): string
    {
        $config = $refusal === 'small' ? ['max.message.bytes' => 20_000] : ['cleanup.policy' => 'compact'];
        $out = $this->topic('out');
        (new Admin(['brokers' => self::address()]))->createTopic($out, 1, 1, $config);

        return $out;
    }

    /** @param array<string, mixed> $config */
    protected function forwarder(string $out, array $config): Broker
    {
        $broker = $this->broker($config);

        return $broker->subscribeTopic(
            $this->topic(),
            fn (Message $message) => $this->forward($broker, (string) $message->getPayload(), $out)
        );
    }

    /** Sends the record on; a bad one so that both topics of refusing() refuse it. */
    protected function forward(Broker $broker, string $value, string $out): void
    {
        $isBad = str_starts_with($value, 'bad');
        $broker->send($out, $isBad ? str_repeat('x', 30_000) : $value, $isBad ? null : $value, [], 0);
    }

    /** @return list<string> */
    protected function resultsOf(string $out): array
    {
        return array_map(static fn (Message $message) => (string) $message->getPayload(), $this->consumeAll($out, 0));
    }
}
