<?php

/**
 * realtime:topics and its four subcommands on both brokers.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

final class TopicsBrokerTest extends OpsTestCase
{
    public function testTheListIsOfThisApplication(): void
    {
        $channel = $this->fill($this->channelTopic('user.1'), [2, 1]);
        $letters = $this->fill("dlq.$channel", [1]);
        $other = $this->createTopic("other-$this->prefix");
        self::assertSame(0, $this->command('realtime:topics:list'));
        self::assertMatchesRegularExpression("~^$channel +channel +2 +1 +3$~m", $this->output);
        self::assertMatchesRegularExpression("~^$letters +dead letters +1 +1 +1$~m", $this->output);
        self::assertStringNotContainsString($other, $this->output);
        self::assertStringContainsString("2 topics (topic_prefix $this->prefix, one-per-channel)", $this->output);
        self::assertSame(0, $this->command('realtime:topics:list', ['--all' => true, '--limit' => '0']));
        self::assertStringContainsString($other, $this->output);
        $one = $this->json('realtime:topics:list', ['pattern' => $channel]);
        self::assertSame([$channel, 'channel', 2, 3], [$one['topic'], $one['kind'], $one['partitions'], $one['records']]);
        self::assertSame(0, $this->command('realtime:topics:list', ['--limit' => '1']));
        self::assertStringContainsString('the first 1 shown (--limit=0 shows all)', $this->output);
    }

    public function testNamesAreNotCutInAPipe(): void
    {
        $topic = $this->createTopic("{$this->prefix}_" . str_repeat('long-', 30) . 'end');
        $this->configure("['brokers' => ['kafka' => " . var_export($this->config(), true) . ']]');
        foreach (['topics:list', "topics:describe $topic", 'topics'] as $command) {
            self::assertStringContainsString($topic, $this->console("realtime:$command")->assertExit()->stdout);
        }
    }

    public function testAnExistingTopicIsReportedWithItsOwnPartitions(): void
    {
        $topic = $this->createTopic($this->channelTopic('user.1'), 3);
        $result = $this->json('realtime:topics:create', ['topics' => [$topic]]);
        self::assertSame(['exists', 3, 1], [$result['result'], $result['partitions'], $result['replication']]);
    }

    public function testAPatternThatMatchesNothingIsReported(): void
    {
        $topic = $this->fill($this->channelTopic('user.1'), [1]);
        foreach (['realtime:topics', 'realtime:topics:list'] as $command) {
            self::assertSame(0, $this->command($command, ['pattern' => "$this->prefix-nothing.*"]));
            self::assertStringContainsString("no topic matches '$this->prefix-nothing.*'", $this->output);
            self::assertStringNotContainsString('match the configuration', $this->output);
        }
        self::assertSame(0, $this->command('realtime:topics', ['pattern' => $topic]));
        self::assertStringContainsString('Topics match the configuration.', $this->output);
    }

    public function testASubcommandAfterASpaceIsAUsageError(): void
    {
        foreach (['list', 'compare', 'create', 'describe'] as $subcommand) {
            self::assertSame(2, $this->command('realtime:topics', ['pattern' => $subcommand]));
            self::assertStringContainsString("Did you mean realtime:topics:$subcommand?", $this->output);
        }
    }

    public function testCreateCreatesTheMappedTopics(): void
    {
        $user = "$this->prefix.user";
        $config = self::grouped(['user.*' => ['topic' => $user, 'partitions' => 3]], "$this->prefix.rest");
        self::assertSame(0, $this->command('realtime:topics:create', ['--dry-run' => true], $config));
        self::assertStringContainsString("$user: would be created: 3 partitions", $this->output);
        self::assertSame([], $this->admin->topics("$this->prefix.*"), 'a dry run');
        $missing = array_column($this->json('realtime:topics:compare', [], 0, $config)['differences'], 'kind', 'topic');
        self::assertSame([$user => 'missing', "$this->prefix.rest" => 'missing'], $missing);

        self::assertSame(0, $this->command('realtime:topics:create', [], $config));
        self::assertCount(3, $this->admin->offsets($user));
        self::assertCount(1, $this->admin->offsets("$this->prefix.rest"));
        self::assertSame(0, $this->command('realtime:topics:create', [], $config));
        self::assertStringContainsString("$user: already exists; unchanged.", $this->output);
        self::assertSame(0, $this->command('realtime:topics:compare', [], $config));
        self::assertSame("Topics match the configuration.\n", $this->output);
        self::assertSame(0, $this->command('realtime:topics', [], $config));
        self::assertMatchesRegularExpression("~^$user +mapped +3 +1 +0 +user\\.\\*$~m", $this->output);
    }

    public function testCreateANamedOne(): void
    {
        $topic = $this->topic('audit');
        $input = ['topics' => [$topic], '--partitions' => '2', '--retention' => '30d'];
        self::assertSame(0, $this->command('realtime:topics:create', $input));
        self::assertStringContainsString("$topic: created: 2 partitions", $this->output);
        self::assertStringContainsString('retention 30 d', $this->output);
        self::assertCount(2, $this->admin->offsets($topic));
        $copies = ['topics' => [$this->topic('copies')], '--replication' => '7'];
        self::assertSame(1, $this->command('realtime:topics:create', $copies));
        self::assertStringContainsString('not possible with 1 broker', $this->output);
        $wrong = [
            ['--partitions' => '2'], ['topics' => [$topic], '--retention' => 'soon'],
            ['topics' => [$topic, 'a b']], ['topics' => ['..'], '--dry-run' => true],
        ];
        foreach ($wrong as $input) {
            self::assertSame(2, $this->command('realtime:topics:create', $input), $this->output);
        }
        self::assertSame(0, $this->command('realtime:topics:create'), 'one topic per channel');
        self::assertStringContainsString('are created with their channels', $this->output);
    }

    public function testDescribe(): void
    {
        $topic = $this->fill($this->channelTopic('user.1'), [2, 1]);
        self::assertSame(0, $this->command('realtime:topics:describe', ['topic' => $topic]));
        self::assertStringContainsString("$topic: 2 partitions, 1 replica, 3 records at most", $this->output);
        self::assertMatchesRegularExpression('~^ +0 +1 +1 +0 +2 +2$~m', $this->output);
        self::assertStringContainsString(
            self::isReal() ? 'Permissions: read, write' : 'none (embedded broker)',
            $this->output
        );
        self::assertSame(1, $this->command('realtime:topics:describe', ['topic' => $this->topic('missing')]));
        self::assertStringContainsString('has no topic', $this->output);
        self::assertSame(2, $this->command('realtime:topics:describe', ['topic' => 'a b']));
        self::assertStringContainsString('has a space', $this->output);
    }

    public function testCompareFindsDifferences(): void
    {
        $few = $this->createTopic("$this->prefix.few");
        $many = $this->createTopic("$this->prefix.many", 3);
        $left = $this->createTopic("{$this->prefix}_user_1");
        $existing = $this->createTopic("$this->prefix.a_b");
        $config = self::grouped([
            'few.*' => ['topic' => $few, 'partitions' => 2],
            'many.*' => ['topic' => $many, 'partitions' => 2],
            'many.*.x' => ['topic' => $many, 'partitions' => 3],
            'a.*' => ['topic' => "$this->prefix.a.b"],
        ], $few);
        $report = $this->json('realtime:topics:compare', [], 1, $config);
        $found = array_map(
            static fn (array $one): array => [$one['level'], $one['kind'], $one['topic']],
            $report['differences']
        );
        self::assertSame([
            ['wrong', 'partitions', $few],
            ['wrong', 'disputed', $many],
            ['wrong', 'partitions', $many],
            ['wrong', 'collision', "$this->prefix.a.b"],
            ['note', 'superfluous', $left],
            ['note', 'superfluous', $existing],
        ], $found);
        self::assertStringContainsString("$few --grow", $report['differences'][0]['remedy']);
        self::assertSame(1, $this->command('realtime:topics:compare', [], $config));
        self::assertStringContainsString("  WRONG  $few has 1 partition, 2 wanted.", $this->output);
    }

    public function testTooManyChannelsForOneTopicEach(): void
    {
        foreach ([1, 2, 3] as $user) {
            $this->createTopic($this->channelTopic("user.$user"));
        }
        self::assertSame(0, $this->command('realtime:topics:compare', ['--max-channels' => '3']));
        self::assertStringNotContainsString('topics are channel topics', $this->output);
        self::assertSame(0, $this->command('realtime:topics:compare', ['--max-channels' => '2']));
        self::assertStringContainsString('WARN   3 topics are channel topics', $this->output);
        self::assertStringContainsString("Set topic_strategy to 'grouped'", $this->output);
        self::assertSame(2, $this->command('realtime:topics:compare', ['--max-channels' => 'many']));
    }

    /**
     * @param array<string, array<string, mixed>> $mapping
     *
     * @return array<string, mixed>
     */
    private static function grouped(array $mapping, string $default): array
    {
        return ['topic_strategy' => 'grouped', 'topic_mapping' => $mapping, 'default_topic' => $default];
    }
}
