<?php

/**
 * The doctor's findings on topics, ACLs, clocks, certificates and names.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Diagnostics\Acl;
use Toporia\Realtime\Diagnostics\BrokerProbe;
use Toporia\Realtime\Diagnostics\Certificate;
use Toporia\Realtime\Diagnostics\Checks\RoundTripCheck;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\TopicHealth;
use Toporia\Realtime\Diagnostics\TopicState;
use Toporia\Realtime\Worker\Text;

final class StateUnitTest extends TestCase
{
    /**
     * @param list<int> $replicas
     * @param list<int> $isr
     *
     * @return array<string, mixed>
     */
    private static function partition(array $replicas, array $isr, int $leader = 1): array
    {
        return ['partition' => 0, 'leader' => $leader, 'replicas' => $replicas, 'isr' => $isr];
    }

    /**
     * @param iterable<Finding> $findings
     *
     * @return list<string>
     */
    private static function said(iterable $findings): array
    {
        $reported = [];
        foreach ($findings as $finding) {
            $reported[] = "{$finding->level} $finding->subject: $finding->text";
        }

        return $reported;
    }

    public function testTopics(): void
    {
        $state = new TopicHealth(3);
        $state->check(new TopicState('a', [self::partition([1, 2, 3], [1, 2, 3])]), 2);
        self::assertSame([], $state->findings());
        $state->check(new TopicState('b', [self::partition([1, 2, 3], [], -1)]), 2);
        $state->check(new TopicState('c', [self::partition([1, 2, 3], [1])]), 2);
        $state->check(new TopicState('d', [self::partition([1, 2, 3], [1, 2])]), 2);
        $state->check(new TopicState('e', [self::partition([1], [1])]), 1);
        $state->check(new TopicState('f', [self::partition([1], [1])]), null);
        $state->check(new TopicState('g', [self::partition([1, 2], [1, 2])]), 3);
        $reported = implode("\n", self::said($state->findings()));
        foreach (
            [
                'error topic b: has partitions without a leader',
                'error topic c: has fewer replicas in sync than min.insync.replicas',
                'error topic g: has fewer replicas than min.insync.replicas requires',
                'warning topic d: has replicas that are not in sync',
                'warning topics e, f: has only one replica, though there are 3 brokers',
            ] as $expected
        ) {
            self::assertStringContainsString($expected, $reported);
        }
        $alone = new TopicHealth(1);
        $alone->check(new TopicState('a', [self::partition([1], [1])]), 1);
        self::assertSame([], $alone->findings(), 'One broker can hold one replica only.');
    }

    public function testAccessRights(): void
    {
        $acl = new Acl('User:x', 'kafka:9092');
        $all = ['read', 'write', 'describe'];
        self::assertSame([], self::said($acl->topics(['a' => $all, 'b' => ['ALL']], true)));
        $one = self::said($acl->topics(['a' => $all, 'b' => ['write', 'describe'], 'c' => []], false));
        self::assertSame(['error topic c: User:x may do nothing with it: neither read nor write nor describe',
            'error topic b: User:x may not read: workers receive none of its records'], $one);
        $publisher = ['a' => ['write', 'describe'], 'b' => ['write', 'describe']];
        self::assertStringStartsWith('warning topics a, b: User:x may not read', self::said($acl->topics($publisher, false))[0]);
        self::assertStringStartsWith('error topics a, b: User:x may not read', self::said($acl->topics($publisher, true))[0]);
        self::assertStringStartsWith('error topic dlq.a: User:x may not write', self::said($acl->deadLetters(['dlq.a' => ['read']]))[0]);
    }

    public function testClocks(): void
    {
        $levels = [];
        foreach ([0.0, 1.9, -2.5, 30.0, 299.0, -3600.0] as $behind) {
            $levels[] = RoundTripCheck::clockFinding($behind)->level;
        }
        self::assertSame(['ok', 'ok', 'warning', 'warning', 'warning', 'error'], $levels);
        $text = RoundTripCheck::clockFinding(-3600.0)->text;
        self::assertStringContainsString('this machine is 1 h ahead of the broker', $text);
    }

    public function testNamesOfCertificates(): void
    {
        $for = static fn (string ...$names): Certificate => new Certificate('s', 'i', array_values($names), 0, 0);
        self::assertTrue($for('kafka.example', '*.kafka.example')->isFor('a.kafka.example'));
        self::assertFalse($for('*.kafka.example')->isFor('a.b.kafka.example'));
        self::assertFalse($for('*.kafka.example')->isFor('kafka.example'));
        self::assertTrue($for('KAFKA.example')->isFor('kafka.EXAMPLE'));
        self::assertTrue($for('0:0:0:0:0:0:0:1')->isFor('[::1]'));
        self::assertFalse($for('127.0.0.1')->isFor('127.0.0.2'));
    }

    public function testAddressesAndNames(): void
    {
        self::assertSame([['a', 1], ['a', 9092], ['[::1]', 7], ['a.b', 2]], array_map(
            BrokerProbe::split(...),
            ['a:1', 'a', '[::1]:7', 'SASL_SSL://a.b:2']
        ));
        self::assertSame('a, b, c, d and 2 more', Text::names(['a', 'b', 'c', 'd', 'e', 'f']));
        self::assertSame('realtime_user_1', Text::nearest('realtime_usr_1', ['realtime_user_1', 'realtime_order_1']));
        self::assertNull(Text::nearest('realtime_usr_1', ['something_else']));
    }
}
