<?php

/**
 * The new group protocol (group.protocol=consumer) and static membership on Kafka: members join, leave and restart, no
 * record is lost, and revoked partitions are committed first.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Consuming;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Delivery\DeliveryTestCase;
use Toporia\Realtime\Tests\Support\ChildProcess;

final class GroupProtocolsKafkaTest extends DeliveryTestCase
{
    private const RECORDS = 1800;
    private const PARTITIONS = 6;

    private string $notes = '';

    protected function setUp(): void
    {
        parent::setUp();
        $this->notes = (string) tempnam(sys_get_temp_dir(), 'notes');
        $this->createTopic($this->topic(), self::PARTITIONS);
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        unlink($this->notes);
    }

    /** @dataProvider protocols */
    #[DataProvider('protocols')]
    public function testMembersThatJoinAndLeaveHandleEverythingOnce(string $protocol): void
    {
        $this->fill(self::RECORDS);
        $first = $this->member('first', $protocol);
        $this->awaitHandled(100);
        $second = $this->member('second', $protocol);
        $second->waitForOutput('/^second assigned [1-9]/m', 30.0);
        $this->awaitHandled(500);
        // Its partitions move to the other member, with the offsets it commits when it leaves.
        $result = $first->signal()->wait(15.0)->assertExit();
        self::assertStringContainsString('first revoked 3 ', $result->stdout, 'half of them for the second');
        $third = $this->member('third', $protocol);
        $third->waitForOutput('/^third assigned [1-9]/m', 30.0);
        $this->awaitHandled(self::RECORDS);
        foreach ([$second, $third] as $member) {
            $member->signal()->wait(15.0)->assertExit();
        }
        $handled = $this->handled();
        self::assertSame([], array_diff(range(1, self::RECORDS), $handled), 'nothing lost');
        self::assertCount(self::RECORDS, $handled, 'nothing twice: what is revoked was committed');
        self::assertSame([], $this->left(), 'everything committed');
    }

    /** @return array<string, array{string}> */
    public static function protocols(): array
    {
        return ['classic' => ['classic'], 'consumer' => ['consumer']];
    }

    /** @dataProvider protocols */
    #[DataProvider('protocols')]
    public function testAStaticMemberThatRestartsGetsItsPartitionsBackWithoutARebalance(string $protocol): void
    {
        $this->fill(self::RECORDS);
        $steady = $this->member('steady', $protocol, 'id-1');
        $steady->waitForOutput('/^steady assigned [1-9]/m', 30.0);
        $other = $this->member('other', $protocol, 'id-2');
        $other->waitForOutput('/^other assigned 3 \S+$/m', 30.0);
        self::eventually(fn () => $this->times($steady, 'revoked') >= 1, 'the first member has released partitions', 30.0);
        // Long enough for another rebalance, if one followed.
        usleep(300_000);
        $before = $this->times($steady, 'assigned') + $this->times($steady, 'revoked');
        $had = $this->partitions($other);

        $other->signal()->wait(15.0)->assertExit();
        $again = $this->member('other', $protocol, 'id-2');
        $again->waitForOutput('/^other assigned 3 \S+$/m', 30.0);
        self::assertSame($had, $this->partitions($again), 'its own again');
        self::assertSame($before, $this->times($steady, 'assigned') + $this->times($steady, 'revoked'), 'no rebalance');

        $this->awaitHandled(self::RECORDS);
        $steady->signal()->wait(15.0)->assertExit();
        $again->signal()->wait(15.0)->assertExit();
        $handled = $this->handled();
        self::assertCount(self::RECORDS, $handled, 'nothing twice');
        self::assertSame([], array_diff(range(1, self::RECORDS), $handled), 'nothing lost');
    }

    private function fill(int $records): void
    {
        $broker = Realtime::broker();
        for ($number = 1; $number <= $records; $number++) {
            $broker->send($this->topic(), (string) $number, null, [], $number % self::PARTITIONS);
        }
        Realtime::flush();
    }

    private function member(string $name, string $protocol, ?string $instance = null): ChildProcess
    {
        $config = var_export(['group_instance_id' => $instance, 'consumer_config' => [
            'group.protocol' => $protocol,
        ] + ($protocol === 'classic' ? ['session.timeout.ms' => 20_000] : [])], true);
        [$topic, $notes] = [var_export($this->topic(), true), var_export($this->notes, true)];

        return $this->startPhp(<<<PHP
            \$broker = new Broker($config);
            \$notes = fopen($notes, 'ab');
            \$broker->subscribeTopic($topic, function (Message \$message) use (\$notes): void {
                fwrite(\$notes, \$message->getPayload() . "\\n");
                usleep(2000);
            });
            \$report = static fn (string \$what) => static function (array \$list) use (\$what): void {
                \$numbers = array_column(\$list, 'partition');
                sort(\$numbers);
                echo "$name \$what ", count(\$list), ' ', implode(',', \$numbers), "\\n";
            };
            \$broker->onAssigned(\$report('assigned'))->onRevoked(\$report('revoked'));
            \$broker->consume();
            PHP);
    }

    /** @return list<int> */
    private function handled(): array
    {
        return array_map('intval', file($this->notes, FILE_IGNORE_NEW_LINES) ?: []);
    }

    private function awaitHandled(int $count): void
    {
        self::eventually(fn () => count(array_unique($this->handled())) >= $count, "$count handled", 60.0);
    }

    private function times(ChildProcess $member, string $what): int
    {
        return (int) preg_match_all("/^\\w+ $what [1-9]/m", $member->stdout());
    }

    /** The partitions of the last assignment. */
    private function partitions(ChildProcess $member): string
    {
        preg_match_all('/^\w+ assigned [1-9]\d* (\S+)$/m', $member->stdout(), $found);

        return (string) end($found[1]);
    }
}
