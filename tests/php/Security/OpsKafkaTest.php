<?php

/**
 * realtime:lag and realtime:topics as a user to whom Kafka's ACLs grant nothing.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Security;

use Symfony\Component\Console\Tester\CommandTester;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Console\Application;
use Toporia\Realtime\Console\PlainHost;

final class OpsKafkaTest extends SecureTestCase
{
    public function testInaccessibleTopicsAreNotCalledMissing(): void
    {
        $admin = new Admin(self::kafka()->settings(user: 'admin'));
        $topic = "$this->prefix.user";
        $admin->createTopic($topic);
        $admin->close();
        $mapping = [
            'topic_strategy' => 'grouped',
            'topic_mapping' => ['user.*' => $topic, 'order.*' => "$this->prefix.order"],
            'default_topic' => $topic,
        ];
        $guest = self::kafka()->settings(user: 'guest') + $mapping;
        [$code, $found] = $this->ask('realtime:topics:compare', $guest);
        self::assertSame(1, $code);
        $kinds = array_column($found['differences'], 'kind', 'topic');
        self::assertSame([$topic => 'forbidden', "$this->prefix.order" => 'forbidden'], $kinds);
        self::assertStringContainsString("--operation Describe --topic $topic", $found['differences'][0]['remedy']);
        [$code, $found] = $this->ask('realtime:topics:compare', self::kafka()->settings(user: 'admin') + $mapping);
        self::assertSame([0, ['missing']], [$code, array_column($found['differences'], 'kind')]);
    }

    public function testAnInaccessibleGroupIsNamedWithTheReason(): void
    {
        [$code, $report] = $this->ask('realtime:lag', self::kafka()->settings(user: 'guest'), ['--sample' => '0']);
        self::assertSame(1, $code);
        self::assertStringContainsString('The ACLs of the cluster do not allow it', $report['failures'][$this->group]);
        self::assertNull($report['groups'][0]['lag']);
    }

    /**
     * @param array<string, mixed> $settings
     * @param array<string, mixed> $input
     *
     * @return array{int, array<string, mixed>} exit code and answer
     */
    private function ask(string $command, array $settings, array $input = []): array
    {
        $settings += ['topic_prefix' => $this->prefix, 'consumer_group' => $this->group];
        $host = new PlainHost(['default_broker' => 'kafka', 'brokers' => ['kafka' => $settings]], sys_get_temp_dir());
        $tester = new CommandTester((new Application($host))->find($command));
        $code = $tester->execute($input + ['--json' => true], ['interactive' => false]);

        return [$code, (array) json_decode($tester->getDisplay(true), true, 64, JSON_THROW_ON_ERROR)];
    }
}
