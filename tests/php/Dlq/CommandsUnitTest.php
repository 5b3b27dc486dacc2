<?php

/**
 * The four dead-letter commands on a Kafka in memory: their output, questions and exit codes.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Dlq;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Symfony\Component\Console\Tester\CommandTester;
use Toporia\Realtime\Console\DlqListCommand;
use Toporia\Realtime\Console\DlqPurgeCommand;
use Toporia\Realtime\Console\DlqReplayCommand;
use Toporia\Realtime\Console\DlqShowCommand;
use Toporia\Realtime\Console\PlainHost;
use Toporia\Realtime\Dlq\Cluster;
use Toporia\Realtime\Realtime;

final class CommandsUnitTest extends TestCase
{
    private const COMMANDS = [
        'list' => DlqListCommand::class,
        'show' => DlqShowCommand::class,
        'replay' => DlqReplayCommand::class,
        'purge' => DlqPurgeCommand::class,
    ];

    private MemoryCluster $cluster;
    private string $output = '';
    private string $broker = '';

    protected function setUp(): void
    {
        $this->cluster = new MemoryCluster();
    }

    protected function tearDown(): void
    {
        Realtime::configure([]);
    }

    public function testWithoutDeadLetterTopicsEveryCommandReportsIt(): void
    {
        $inputs = [
            'list' => [], 'show' => ['letter' => 'x'], 'replay' => ['--all' => true, '--yes' => true],
            'purge' => ['--all' => true, '--yes' => true],
        ];
        foreach ($inputs as $command => $input) {
            $this->cluster->closed = false;
            $code = $command === 'show' ? 1 : 0;
            self::assertSame($code, $this->execute($command, $input + ['--broker' => 'other']), $command);
            self::assertStringContainsString('No dead letters: Kafka has no topic dlq.…', $this->output);
            self::assertSame('other', $this->broker);
            self::assertTrue($this->cluster->closed);
        }
        self::assertSame(1, $this->execute('replay', ['letters' => ['orders/0/1'], '--yes' => true]));
        self::assertStringContainsString('orders/0/1: no dead letter has this id', $this->output);
    }

    public function testWithoutDeadLetterTopicsJsonIsPrintedToo(): void
    {
        $this->execute('purge', ['--all' => true, '--yes' => true, '--json' => true]);
        self::assertStringContainsString('{"dry_run":false,"chosen":0,"deleted":0,"held_back":0}', $this->output);
        $this->execute('replay', ['--all' => true, '--yes' => true, '--json' => true]);
        self::assertStringContainsString('"chosen":0,"replayed":0,', $this->output);
    }

    public function testListHidesReplayedDeadLetters(): void
    {
        $this->letters(3);
        $this->execute('replay', ['letters' => ['orders/0/1'], '--yes' => true]);
        self::assertSame(0, $this->execute('list'));
        self::assertStringContainsString('dlq.orders/0/0', $this->output);
        self::assertStringNotContainsString('dlq.orders/0/1', $this->output);
        self::assertStringContainsString('2 dead letters; 1 replayed letter hidden (--all shows them).', $this->output);
        $this->execute('list', ['--all' => true]);
        self::assertStringContainsString('dlq.orders/0/1', $this->output);
        self::assertStringContainsString('REPLAYED', $this->output);
        $this->execute('list', ['--limit' => '1']);
        self::assertStringContainsString('dlq.orders/0/2', $this->output);
        self::assertStringContainsString('2 dead letters, the newest 1 shown (--limit=0 shows all); 1', $this->output);
        $this->execute('list', ['--class' => 'Nobody']);
        self::assertSame("No dead letters.\n", $this->output);
    }

    public function testListAsJson(): void
    {
        $this->letters(2);
        self::assertSame(0, $this->execute('list', ['--json' => true]));
        $lines = explode("\n", trim($this->output));
        self::assertCount(2, $lines);
        $letter = json_decode($lines[0], true);
        self::assertSame(['dlq.orders/0/1', 'orders-0-1', 'orders', 0, 1, 'app', 'App\OrderException', 4, 0, null], [
            $letter['letter'], $letter['id'], $letter['topic'], $letter['partition'], $letter['offset'],
            $letter['group'], $letter['class'], $letter['attempts'], $letter['replays'], $letter['replayed_at'],
        ]);
    }

    public function testThePrefixIsTheConfiguredOne(): void
    {
        $this->cluster->put('dead.orders', 'x');
        $this->letters(1);
        $this->cluster->dlqPrefix = 'dead';
        $this->execute('list');
        self::assertStringContainsString('dead.orders/0/0', $this->output);
        self::assertStringNotContainsString('dlq.orders', $this->output);
    }

    public function testShow(): void
    {
        $this->letters(2);
        self::assertSame(0, $this->execute('show', ['letter' => 'orders/0/1']));
        self::assertStringContainsString("Payload   7 bytes\n  {\n    \"n\": 1\n  }", $this->output);
        self::assertSame(0, $this->execute('show', ['letter' => 'orders-0-1', '--json' => true]));
        $letter = json_decode($this->output, true);
        self::assertSame(['{"n":1}', 'k', 'app'], [
            $letter['payload'], $letter['key'], $letter['headers']['x-original-group'],
        ]);
        self::assertSame(1, $this->execute('show', ['letter' => "no\e"]));
        self::assertStringContainsString('there is no dead letter no\u001b', $this->output);
        $this->cluster->letter('orders', '{}', ['x-original-offset' => '1', 'x-original-group' => 'b']);
        self::assertSame(2, $this->execute('show', ['letter' => 'orders-0-1']));
        self::assertStringContainsString('dlq.orders/0/1, dlq.orders/0/2', $this->output);
    }

    public function testListAndShowKeepToTheTopicsOfThisApplication(): void
    {
        $this->cluster->foreign = ['theirs', 'dlq.theirs'];
        $this->letters(1);
        $secret = '{"id":"secret","type":"event","channel":"x","event":"card","data":"4111","timestamp":1}';
        $this->cluster->letter('theirs', $secret);

        foreach ([[], ['--all' => true], ['--topic' => 'th*'], ['--topic' => '**']] as $options) {
            self::assertSame(0, $this->execute('list', $options));
            self::assertStringNotContainsString('card', $this->output);
            self::assertStringContainsString('Skipped: dlq.theirs.', $this->output);
        }
        self::assertSame(1, $this->execute('show', ['letter' => 'secret']));
        self::assertStringContainsString('Skipped: dlq.theirs.', $this->output);

        self::assertSame(0, $this->execute('list', ['--topic' => 'theirs']));
        self::assertStringContainsString('card', $this->output);
        self::assertSame(0, $this->execute('show', ['letter' => 'theirs/0/0']));
        self::assertStringContainsString('4111', $this->output);
    }

    public function testChangesKeepToTheTopicsOfThisApplication(): void
    {
        $this->cluster->foreign = ['theirs', 'dlq.theirs'];
        $this->letters(2);
        $this->cluster->letter('theirs', '{}', ['x-original-offset' => '9']);

        self::assertSame(0, $this->execute('purge', ['--all' => true, '--yes' => true]));
        self::assertStringContainsString('2 letters of dlq.orders', $this->output);
        self::assertStringContainsString('Only letters of this application (topic_prefix app). Skipped: dlq.theirs.', $this->output);
        self::assertSame(['dlq.orders'], array_keys($this->cluster->deleted));

        self::assertSame(0, $this->execute('purge', ['--all' => true, '--yes' => true, '--topic' => 'th*']));
        self::assertStringContainsString('Nothing to delete.', $this->output);
        self::assertSame(0, $this->execute('replay', ['--all' => true, '--yes' => true]));
        self::assertStringContainsString('Skipped: dlq.theirs.', $this->output);
        self::assertSame(0, $this->execute('replay', ['--topic' => '**', '--yes' => true]));
        self::assertSame([], $this->cluster->all('theirs'));

        self::assertSame(0, $this->execute('replay', ['--topic' => 'theirs', '--yes' => true]));
        self::assertStringNotContainsString('Skipped', $this->output);
        self::assertCount(1, $this->cluster->all('theirs'));
        foreach (['theirs/0/0', 'theirs-0-9'] as $id) {
            self::assertSame(0, $this->execute('replay', ['letters' => [$id], '--again' => true, '--yes' => true]), $id);
        }
        self::assertCount(3, $this->cluster->all('theirs'));
        self::assertSame(0, $this->execute('purge', ['--all' => true, '--yes' => true, '--topic' => 'dlq.theirs']));
        self::assertSame(['dlq.orders', 'dlq.theirs'], array_keys($this->cluster->deleted));
    }

    public function testAChannelOfAnotherApplicationIsNotSelected(): void
    {
        $this->cluster->foreign = ['prod_u', 'dlq.prod_u'];
        $envelope = '{"id":"1","type":"event","channel":"u","event":"e","timestamp":1}';
        $this->cluster->letter('app_u', $envelope);
        $this->cluster->letter('prod_u', strtr($envelope, ['"1"' => '"2"']));
        self::assertSame(1, $this->execute('replay', ['letters' => ['2'], '--yes' => true]));
        self::assertStringContainsString('no dead letter has this id', $this->output);
        self::assertSame([], $this->cluster->all('prod_u'));
        self::assertSame(0, $this->execute('purge', ['--all' => true, '--topic' => 'u', '--yes' => true]));
        self::assertSame(['dlq.app_u'], array_keys($this->cluster->deleted));
    }

    public function testTheChannelDecidesWherePrefixesBeginWithEachOther(): void
    {
        $this->cluster->strategy = 'one-per-channel';
        $this->letterOf('app_user_1', 'user.1');
        $this->letterOf('app_broken', null);
        $this->letterOf('app.raw', null);
        $this->letterOf('app_staging_user_1', 'user.1');
        $this->letterOf('app_staging_user_1', 'staging.user.1');
        $this->letterOf('app_staging_broken', null);
        $this->letterOf('app_staging', 'any.channel');
        $this->letterOf('app.live_user_1', 'user.1');
        $this->letterOf('app.live.raw', null);
        $ours = ['app.raw', 'app_broken', 'app_user_1'];
        $skipped = 'Only letters of this application (topic_prefix app). Skipped: dlq.app.live.raw, dlq.app.live_user_1, '
            . 'dlq.app_staging, dlq.app_staging_broken, dlq.app_staging_user_1.';

        self::assertSame(0, $this->execute('replay', ['--all' => true, '--yes' => true]), $this->output);
        self::assertStringContainsString($skipped, $this->output);
        self::assertStringContainsString('4 letters replayed.', $this->output);
        foreach (array_keys($this->cluster->topics) as $topic) {
            if (!str_starts_with($topic, 'dlq')) {
                $count = (int) in_array($topic, [...$ours, 'app_staging_user_1'], true);
                self::assertCount($count, $this->cluster->all($topic), $topic);
            }
        }
        $replayed = json_decode((string) $this->cluster->all('app_staging_user_1')[0]->value, true);
        self::assertSame('staging.user.1', $replayed['channel']);

        self::assertSame(0, $this->execute('purge', ['--all' => true, '--yes' => true]));
        self::assertStringContainsString($skipped, $this->output);
        self::assertStringContainsString('stays behind dlq.app_staging_user_1/0/0, which must stay', $this->output);
        self::assertSame(array_map(static fn (string $topic) => "dlq.$topic", $ours), array_keys($this->cluster->deleted));
        self::assertSame(0, $this->execute('purge', ['--all' => true, '--yes' => true, '--topic' => 'user.1']));
        self::assertArrayNotHasKey('dlq.app_staging_user_1', $this->cluster->deleted);

        self::assertSame(0, $this->execute('replay', ['letters' => ['app_staging_user_1/0/0'], '--yes' => true]));
        self::assertCount(2, $this->cluster->all('app_staging_user_1'));
        $named = ['--all' => true, '--yes' => true, '--topic' => 'app_staging_user_1'];
        self::assertSame(0, $this->execute('purge', $named));
        self::assertSame([0 => 2], $this->cluster->deleted['dlq.app_staging_user_1']);
    }

    public function testTheTopicsOfGatewaysTellAPrefix(): void
    {
        $this->cluster->strategy = 'one-per-channel';
        $this->letterOf('app_staging_broken', null);
        $this->letterOf('app_stagings_broken', null);
        $this->cluster->create('app_staging.__presence');
        self::assertSame(0, $this->execute('purge', ['--all' => true, '--yes' => true]));
        self::assertStringContainsString('Skipped: dlq.app_staging_broken.', $this->output);
        self::assertSame(['dlq.app_stagings_broken'], array_keys($this->cluster->deleted));
    }

    public function testReplayRequiresAnExplicitYes(): void
    {
        $this->letters(2);
        foreach (['n', '', 'maybe'] as $answer) {
            self::assertSame(0, $this->execute('replay', ['--all' => true], [], [$answer]));
            self::assertStringContainsString('Replay 2 letters? [y/N]', $this->output);
            self::assertStringContainsString('Nothing was replayed.', $this->output);
        }
        self::assertSame([], $this->cluster->all('orders'));
        self::assertSame(0, $this->execute('replay', ['--all' => true], [], ['y']));
        self::assertStringContainsString('2 letters to orders for the group app', $this->output);
        self::assertStringContainsString('2 letters replayed.', $this->output);
        self::assertCount(2, $this->cluster->all('orders'));
        self::assertSame(0, $this->execute('replay', ['--all' => true, '--yes' => true]));
        self::assertStringContainsString('Nothing to replay; 2 already replayed and skipped', $this->output);
        self::assertSame(0, $this->execute('replay', ['--all' => true, '--yes' => true, '--again' => true]));
        self::assertCount(4, $this->cluster->all('orders'));
    }

    public function testAMissingDeadLetterIsNamed(): void
    {
        $this->letters(2);
        $asked = ['letters' => ['orders/0/1', 'orders/0/7', 'realtime_user_1'], '--yes' => true];
        self::assertSame(1, $this->execute('replay', $asked));
        self::assertStringContainsString('1 letter replayed.', $this->output);
        self::assertStringContainsString('orders/0/7: no dead letter has this id', $this->output);
        self::assertStringContainsString('--topic=realtime_user_1', $this->output);
        self::assertStringNotContainsString('orders/0/1: no', $this->output);
    }

    public function testWithoutATerminalItRefusesToGuess(): void
    {
        $this->letters(1);
        foreach (['replay', 'purge'] as $command) {
            self::assertSame(2, $this->execute($command, ['--all' => true]));
            self::assertStringContainsString('Use --yes', $this->output);
        }
        self::assertSame([], $this->cluster->reads, 'said before anything is read');
    }

    public function testADryRunChangesNothing(): void
    {
        $this->letters(25);
        self::assertSame(0, $this->execute('replay', ['--all' => true, '--dry-run' => true]));
        self::assertStringContainsString('dlq.orders/0/19', $this->output);
        self::assertStringNotContainsString('dlq.orders/0/20', $this->output);
        self::assertStringContainsString("… and 5 more\nDry run: 25 letters would be replayed.", $this->output);
        self::assertSame(0, $this->execute('purge', ['--all' => true, '--dry-run' => true]));
        self::assertStringContainsString('Dry run: 25 letters would be deleted.', $this->output);
        self::assertSame([], $this->cluster->all('orders'));
        self::assertSame([[], []], [$this->cluster->deleted, $this->cluster->compacted]);
    }

    public function testAFailedReplayIsExitCode1(): void
    {
        $this->letters(1);
        $this->cluster->letter('orders', null, ['x-original-size' => '2000000']);
        self::assertSame(1, $this->execute('replay', ['--all' => true, '--yes' => true]));
        self::assertStringContainsString("Cannot be replayed:\n  dlq.orders/0/1: it only holds", $this->output);
        self::assertStringContainsString('1 letter replayed.', $this->output);
        $this->cluster->failing = 'orders';
        $this->letters(1);
        self::assertSame(1, $this->execute('replay', ['letters' => ['orders/0/2'], '--yes' => true, '--json' => true]));
        $first = strtok($this->output, "\n");
        $result = json_decode((string) $first, true);
        self::assertSame([1, 0, ['dlq.orders/0/2' => 'timed out']], [
            $result['chosen'], $result['replayed'], $result['failed'],
        ]);
        self::assertStringContainsString('Not delivered; these letters can be replayed again', $this->output);
    }

    public function testPurgeDeletesUpToTheFirstOneToKeep(): void
    {
        $this->letters(5);
        $this->execute('replay', ['letters' => ['orders/0/0', 'orders/0/1', 'orders/0/3'], '--yes' => true]);
        self::assertSame(0, $this->execute('purge', ['--replayed' => true], [], ['yes']));
        self::assertStringContainsString('2 letters of dlq.orders', $this->output);
        self::assertStringContainsString('1 letter of dlq.orders stays behind dlq.orders/0/2', $this->output);
        self::assertStringContainsString('Delete 2 letters permanently? [y/N]', $this->output);
        self::assertStringContainsString('2 letters deleted.', $this->output);
        self::assertSame(['dlq.orders' => [0 => 2]], $this->cluster->deleted);
        $tombstones = array_filter($this->cluster->all('dlq-replayed'), static fn ($mark) => $mark->value === null);
        self::assertSame(['dlq.orders/0/0', 'dlq.orders/0/1'], array_column($tombstones, 'key'));
        self::assertSame(0, $this->execute('purge', ['--replayed' => true, '--yes' => true]));
        self::assertStringContainsString('Nothing to delete.', $this->output);
    }

    public function testPurgeByTimeAndTopic(): void
    {
        $this->cluster->letter('orders', '{}', ['x-failed-at' => '1000']);
        $this->cluster->letter('users', '{}', ['x-failed-at' => '1000']);
        $this->cluster->letter('users', '{}', ['x-failed-at' => '3000']);
        $this->execute('purge', ['--before' => '2000', '--topic' => 'users', '--yes' => true, '--json' => true]);
        self::assertSame(
            ['dry_run' => false, 'chosen' => 1, 'deleted' => 1, 'held_back' => 0],
            json_decode($this->output, true)
        );
        self::assertSame(['dlq.users' => [0 => 1]], $this->cluster->deleted);
        $this->execute('purge', ['--all' => true, '--yes' => true]);
        self::assertSame([['dlq.users' => [0 => 2], 'dlq.orders' => [0 => 1]]], [$this->cluster->deleted]);
    }

    /**
     * @dataProvider wrongUsage
     *
     * @param array<string, mixed> $input
     */
    #[DataProvider('wrongUsage')]
    public function testWrongUsageIsExitCode2(string $command, array $input, string $text): void
    {
        $this->letters(1);
        self::assertSame(2, $this->execute($command, $input), $this->output);
        self::assertStringContainsString($text, $this->output);
        self::assertSame([], $this->cluster->reads);
    }

    /** @return array<string, array{string, array<string, mixed>, string}> */
    public static function wrongUsage(): array
    {
        $yes = ['--yes' => true];

        return [
            'unknown option' => ['list', ['--classes' => 'a'], '"--classes" option does not exist'],
            'no limit' => ['list', ['--limit' => 'all'], '--limit'],
            'no time' => ['list', ['--since' => 'yesterday'], '--since'],
            'empty topic' => ['list', ['--topic' => ''], '--topic needs a value'],
            'empty broker' => ['list', ['--broker' => ''], '--broker needs a value'],
            'show nothing' => ['show', [], 'Not enough arguments'],
            'show an empty name' => ['show', ['letter' => ' '], 'A letter needs a value'],
            'replay nothing' => ['replay', $yes, 'letter ids or message ids, --topic'],
            'replay all and one' => ['replay', $yes + ['--all' => true, 'letters' => ['a']], 'cannot be combined'],
            'purge nothing' => ['purge', $yes, '--before=<time>, --replayed or both'],
            'purge a topic without saying which' => ['purge', $yes + ['--topic' => 'a'], '--before=<time>, --replayed or both'],
            'purge all and some' => ['purge', $yes + ['--all' => true, '--replayed' => true], '--before=<time>, --replayed or both'],
        ];
    }

    private function letters(int $count): void
    {
        for ($i = 0; $i < $count; $i++) {
            $headers = ['x-original-offset' => (string) $i, 'x-failed-at' => (string) (time() - 1000 + $i)];
            $this->cluster->letter('orders', "{\"n\":$i}", $headers);
        }
    }

    /**
     * @param array<string, mixed> $input
     * @param array<string, mixed> $config
     * @param list<string> $answers typed on a terminal; none: there is no terminal
     */
    private function execute(string $command, array $input = [], array $config = [], array $answers = []): int
    {
        $class = self::COMMANDS[$command];
        $connect = function (string $broker): Cluster {
            $this->broker = $broker;

            return $this->cluster;
        };
        $tester = new CommandTester(new $class(new PlainHost($config, '/srv/app'), $connect));
        $tester->setInputs($answers);
        $code = $tester->execute($input, $answers === [] ? ['interactive' => false] : []);
        $this->output = $tester->getDisplay(true);

        return $code;
    }

    /** @param string|null $channel null: the value is not an envelope */
    private function letterOf(string $topic, ?string $channel): void
    {
        $envelope = ['id' => uniqid(), 'type' => 'event', 'channel' => $channel, 'event' => 'e', 'timestamp' => 1];
        $this->cluster->letter($topic, $channel === null ? 'broken' : json_encode($envelope, JSON_THROW_ON_ERROR));
    }
}
