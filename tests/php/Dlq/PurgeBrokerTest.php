<?php

/**
 * Purging on a broker: which records are deleted, which stay, and the error of the embedded broker.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

final class PurgeBrokerTest extends DlqTestCase
{
    public function testUpToTheFirstOneToKeep(): void
    {
        $topic = $this->createTopic($this->topic());
        $dead = $this->createTopic($this->dead($topic));
        $this->send($topic, ['a', 'b', 'c', 'd']);
        $this->consumeAs('g', $topic, self::always());
        $positions = ["$dead/0/0", "$dead/0/1", "$dead/0/3"];
        self::assertSame(0, $this->command('replay', ['letters' => $positions, '--yes' => true]), $this->output);
        self::assertSame(0, $this->command('purge', ['--replayed' => true, '--dry-run' => true]));
        self::assertStringContainsString("1 letter of $dead stays behind $dead/0/2", $this->output);
        self::assertStringContainsString('Dry run: 2 letters would be deleted.', $this->output);

        $code = $this->command('purge', ['--replayed' => true], ['y']);
        if (!self::isReal()) {
            self::assertSame(2, $code, $this->output);
            self::assertStringContainsString('the embedded broker has no admin API', $this->output);
            self::assertCount(4, $this->listed(['--all' => true]));

            return;
        }
        self::assertSame(0, $code, $this->output);
        self::assertStringContainsString('2 letters deleted.', $this->output);
        self::assertSame(["$dead/0/3", "$dead/0/2"], array_column($this->listed(['--all' => true]), 'letter'));
        $markers = [];
        foreach ($this->consumeAll($this->dlqPrefix() . '-replayed', 5) as $mark) {
            $markers[(string) $mark->getKey()] = $mark->getPayload();
        }
        self::assertSame(["$dead/0/3"], array_keys(array_filter($markers)), 'the marks of the others are gone');
        self::assertSame(1, $this->replayAll()['replayed']);
        self::assertSame(0, $this->command('purge', ['--replayed' => true, '--yes' => true]));
        self::assertSame([], $this->listed(['--all' => true]));
    }

    public function testByTimeAndAll(): void
    {
        $topic = $this->createTopic($this->topic());
        $other = $this->createTopic($this->topic('other'));
        foreach ([$topic, $other] as $one) {
            $this->send($one, ['x', 'y']);
            $this->consumeAs('g', $one, self::always());
        }
        $purge = fn (array $input): int => $this->command('purge', $input + ['--yes' => true]);
        self::assertSame(0, $purge(['--before' => '1h']));
        self::assertStringContainsString('Nothing to delete.', $this->output);
        $code = $purge(['--before' => (string) (time() + 60), '--topic' => $topic]);
        if (!self::isReal()) {
            self::assertSame(2, $code, $this->output);

            return;
        }
        self::assertSame(0, $code, $this->output);
        self::assertCount(2, $this->listed());
        self::assertSame(0, $purge(['--all' => true]));
        self::assertSame([], $this->listed());
        $this->send($other, ['z']);
        $this->consumeAs('g', $other, self::always());
        self::assertCount(1, $this->listed(), 'letters come again afterwards');
    }
}
