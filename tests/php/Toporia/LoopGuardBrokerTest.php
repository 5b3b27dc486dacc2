<?php

/**
 * A message broadcast again by a callback through the framework's manager is not published again, no matter which caller runs
 * it.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Toporia;

use PHPUnit\Framework\Attributes\DataProvider;

final class LoopGuardBrokerTest extends ToporiaTestCase
{
    /** Sends two, consumes them with a callback that broadcasts each again, and returns the dropped ones. */
    private const AGAIN = '
        use Toporia\Realtime\Toporia\Configuration;
        Realtime::configure(Configuration::application($config));
        $manager->broadcast("user.1", "first", ["b" => 1.0, "a" => [1, 2]]);
        $manager->broadcast("user.1", "second", null);
        Realtime::flush();
        $again = function ($message) use ($manager): void {
            $manager->broadcast($message->getChannel(), $message->getEvent(), $message->getData());
        };
        %s
        echo json_encode([count($manager->local), Realtime::stats()["loop_dropped"]]);
    ';

    /** @return array<string, array{0: string, 1: string}> */
    public static function callbacks(): array
    {
        $ways = [
            'of a native broker' => 'Realtime::broker()->subscribe("user.1", $again)->consume(1000, 100, 2);',
            'of a native broker, in lists' => 'Realtime::broker()->subscribeBatch("user.*", function (array $messages) use ($again) {
                array_map($again, array_reverse($messages));
            })->consume(1000, 100, 2);',
            'of the adapter' => '$n = 0; $broker = $manager->broker();
                $broker->subscribe("user.1", function ($message) use ($again, $broker, &$n) {
                    $again($message);
                    ++$n === 2 && $broker->stopConsuming();
                });
                $broker->consume(1000, 100);',
        ];
        $cases = [];
        foreach (['Older', 'Newer'] as $generation) {
            foreach ($ways as $way => $code) {
                $cases["$way, $generation"] = [$generation, $code];
            }
        }

        return $cases;
    }

    /** @dataProvider callbacks */
    #[DataProvider('callbacks')]
    public function testAnIdenticalMessageIsNotPublished(string $generation, string $consume): void
    {
        $result = $this->startToporia($generation, sprintf(self::AGAIN, $consume))->wait();
        self::assertSame([4, 2], $result->json(), $result->describe());
        self::assertCount(2, $this->envelopes("$this->prefix.user", 2), 'What came from Kafka went there again.');
    }

    public function testDifferentMessagesAndThoseSentOutsideArePublished(): void
    {
        $result = $this->startToporia('Newer', sprintf(self::AGAIN, '
            Realtime::broker()->subscribe("user.1", function ($message) use ($manager) {
                $manager->broadcast("user.2", $message->getEvent(), $message->getData());
                $manager->broadcast("user.1", $message->getEvent(), ["b" => 2, "a" => [1, 2]]);
            })->consume(1000, 1, 2);
            $manager->broadcast("user.1", "second", null);
        '))->wait();
        self::assertSame([7, 0], $result->json(), $result->describe());
        self::assertCount(7, $this->envelopes("$this->prefix.user", 7));
    }

    public function testItCanBeDisabled(): void
    {
        $code = sprintf(self::AGAIN, 'Realtime::broker()->subscribe("user.1", $again)->consume(1000, 1, 2);');
        $result = $this->startToporia('Newer', $code, ['loop_guard' => false])->wait();
        self::assertSame([4, 0], $result->json(), $result->describe());
        self::assertCount(4, $this->envelopes("$this->prefix.user", 4));
    }
}
