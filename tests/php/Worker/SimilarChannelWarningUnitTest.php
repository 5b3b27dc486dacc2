<?php

/**
 * When a worker is warned that it may be subscribed to the wrong channel.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Worker\ConsumeReporter;
use Toporia\Realtime\Worker\Snapshot;
use Toporia\Realtime\Worker\StateWatch;
use Toporia\Realtime\Worker\SimilarChannelWarning;

final class SimilarChannelWarningUnitTest extends TestCase
{
    private FakeTerminal $terminal;
    private int $asked = 0;

    protected function setUp(): void
    {
        $this->terminal = new FakeTerminal();
    }

    public function testItAsksKafkaOnlyAfterTenIdleSecondsAndWarnsOnce(): void
    {
        $warning = $this->warning(['user.1'], ['private-user.1' => 'user.1']);
        $warning->check(self::after(9.9));
        $warning->check(self::after(10.0, 1));
        $warning->check(self::after(20.0));
        self::assertSame(0, $this->asked);
        $warning->check(self::after(70.0));
        $warning->check(self::after(200.0));
        self::assertSame(1, $this->asked, 'Said once.');
        self::assertSame(
            ['similar_channel', 'user.1', 'private-user.1'],
            [$this->firstReport()['type'], $this->firstReport()['channel'], $this->firstReport()['similar_channel']]
        );
        self::assertStringContainsString('--channels=private-user.1?', $this->firstReport()['text']);
    }

    public function testAPatternStaysAPatternInTheSuggestion(): void
    {
        $this->warning(['user.*'], ['presence-user.7' => 'user.*'])->check(self::after(10.0));
        self::assertStringContainsString('--channels=presence-user.*?', $this->firstReport()['text']);
    }

    public function testNoWarningWhenTheSimilarChannelIsSubscribedToo(): void
    {
        $this->warning(['user.1', 'private-user.1'], ['private-user.1' => 'user.1'])->check(self::after(10.0));
        self::assertSame([], $this->terminal->lines);
    }

    public function testPrivatePresenceAndCatchAllChannelsAreNotChecked(): void
    {
        $this->warning(['private-user.1', 'presence-shop', '**'], [])->check(self::after(10.0));
        self::assertSame(0, $this->asked);
    }

    public function testAKafkaErrorDuringTheCheckDoesNotStopTheWorker(): void
    {
        $warning = new SimilarChannelWarning(
            ['user.1'],
            static fn (): array => throw new ConnectionException('not authorized'),
            new ConsumeReporter($this->terminal, true)
        );
        $warning->check(self::after(10.0));
        self::assertSame([], $this->terminal->lines);
    }

    /**
     * @param list<string> $channels
     * @param array<string, string> $similar
     */
    private function warning(array $channels, array $similar): SimilarChannelWarning
    {
        return new SimilarChannelWarning($channels, function () use ($similar): array {
            $this->asked++;

            return $similar;
        }, new ConsumeReporter($this->terminal, true));
    }

    /** @return array<string, mixed> */
    private function firstReport(): array
    {
        return json_decode($this->terminal->lines[0], true);
    }

    private static function after(float $seconds, int $handled = 0): Snapshot
    {
        return new Snapshot($seconds, $handled, 0, -1, true, [], null);
    }
}
