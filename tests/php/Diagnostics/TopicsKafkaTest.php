<?php

/**
 * realtime:topics on Kafka: retention, more partitions, and refusals by Kafka.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

final class TopicsKafkaTest extends OpsTestCase
{
    public function testMappedTopicsAreCreatedAndDifferencesFixed(): void
    {
        $topic = "$this->prefix.user";
        $this->admin->createTopic($topic, 1, 1, ['retention.ms' => 3_600_000]);
        $this->admin->createTopic("$this->prefix.audit");
        $entry = ['topic' => $topic, 'partitions' => 3, 'replication' => 2, 'retention' => '7d'];
        $config = [
            'topic_strategy' => 'grouped',
            'topic_mapping' => ['user.*' => $entry, 'order.*' => ['retention' => '2d', 'topic' => "$this->prefix.order"]],
            'default_topic' => "$this->prefix.audit",
        ];
        $found = $this->json('realtime:topics:compare', [], 1, $config)['differences'];
        self::assertSame(
            ['partitions', 'replication', 'retention', 'missing'],
            array_column($found, 'kind'),
            (string) json_encode($found)
        );
        self::assertStringContainsString('The cluster has 1 broker.', $found[1]['what']);
        self::assertSame('retention 1 h, 7 d wanted.', $found[2]['what']);
        self::assertStringContainsString('retention.ms=604800000', $found[2]['remedy']);

        self::assertSame(0, $this->command('realtime:topics:create', [], $config));
        self::assertStringContainsString(
            "$topic: already exists; unchanged. It has 1 of 3 partitions; --grow adds the missing ones.",
            $this->output
        );
        self::assertSame(0, $this->command('realtime:topics:create', ['--grow' => true, '--dry-run' => true], $config));
        self::assertStringContainsString("$topic: would grow from 1 to 3 partitions.", $this->output);
        self::assertSame(0, $this->command('realtime:topics:create', ['--grow' => true], $config));
        self::assertCount(3, $this->admin->offsets($topic));
        self::assertSame('172800000', $this->admin->topicConfig("$this->prefix.order")['retention.ms']);
        $left = $this->json('realtime:topics:compare', [], 1, $config)['differences'];
        self::assertSame(['replication', 'retention'], array_column($left, 'kind'));
        self::assertSame(0, $this->command('realtime:topics:describe', ['topic' => $topic], $config));
        self::assertStringContainsString('retention.ms = 3600000 (1 h)', $this->output);
        self::assertStringContainsString('Kind: mapped (user.*)', $this->output);
    }

    public function testACollidingNameIsRefusedAndTheOthersAreCreated(): void
    {
        $this->admin->createTopic("$this->prefix.a_b");
        $input = ['topics' => ["$this->prefix.a.b", "$this->prefix.c"]];
        self::assertSame(1, $this->command('realtime:topics:create', $input));
        self::assertStringContainsString("$this->prefix.c: created", $this->output);
        self::assertCount(1, $this->admin->offsets("$this->prefix.c"));
    }
}
