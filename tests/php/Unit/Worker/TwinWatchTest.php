<?php

/**
 * When a worker is told that it perhaps listens to the wrong channel.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Unit\Worker;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Worker\JsonReporter;
use Toporia\Realtime\Worker\Snapshot;
use Toporia\Realtime\Worker\TwinWatch;

final class TwinWatchTest extends TestCase
{
    private FakeTerminal $terminal;
    private int $asked = 0;

    protected function setUp(): void
    {
        $this->terminal = new FakeTerminal();
    }

    public function testItAsksAfterAWhileAndOnlyWhereNothingWasHandled(): void
    {
        $watch = $this->watch(['user.1'], ['private-user.1' => 'user.1']);
        $watch->look(self::after(9.9));
        $watch->look(self::after(10.0, 1));
        $watch->look(self::after(20.0));
        self::assertSame(0, $this->asked);
        $watch->look(self::after(70.0));
        $watch->look(self::after(200.0));
        self::assertSame(1, $this->asked, 'Said once.');
        self::assertSame(
            ['twin', 'user.1', 'private-user.1'],
            [$this->told()['type'], $this->told()['channel'], $this->told()['twin']]
        );
        self::assertStringContainsString('--channels=private-user.1 that you want?', $this->told()['text']);
    }

    public function testAPatternKeepsItsForm(): void
    {
        $this->watch(['user.*'], ['presence-user.7' => 'user.*'])->look(self::after(10.0));
        self::assertStringContainsString('--channels=presence-user.* that', $this->told()['text']);
    }

    public function testATwinThatIsSubscribedTooIsFine(): void
    {
        $this->watch(['user.1', 'private-user.1'], ['private-user.1' => 'user.1'])->look(self::after(10.0));
        self::assertSame([], $this->terminal->lines);
    }

    public function testGuardedChannelsHaveNoTwin(): void
    {
        $this->watch(['private-user.1', 'presence-shop', '**'], [])->look(self::after(10.0));
        self::assertSame(0, $this->asked);
    }

    public function testAKafkaThatRefusesToTellStopsNobody(): void
    {
        $watch = new TwinWatch(
            ['user.1'],
            static fn (): array => throw new ConnectionException('not authorized'),
            new JsonReporter($this->terminal)
        );
        $watch->look(self::after(10.0));
        self::assertSame([], $this->terminal->lines);
    }

    /**
     * @param list<string> $channels
     * @param array<string, string> $twins
     */
    private function watch(array $channels, array $twins): TwinWatch
    {
        return new TwinWatch($channels, function () use ($twins): array {
            $this->asked++;

            return $twins;
        }, new JsonReporter($this->terminal));
    }

    /** @return array<string, mixed> */
    private function told(): array
    {
        return json_decode($this->terminal->lines[0], true);
    }

    private static function after(float $seconds, int $handled = 0): Snapshot
    {
        return new Snapshot($seconds, $handled, 0, -1, true, [], null);
    }
}
