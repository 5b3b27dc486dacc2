<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Acl;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\Text;

/** Checks the user's permissions for topics and the group. Queries the permissions; does not try the operations. */
final class AclCheck extends Check
{
    public const NAME = 'acl';
    public const TITLE = 'Permissions';
    public const NEEDS = ['client', 'admin'];
    /** Maximum number of topics to query. */
    private const MAX_TOPICS = 500;
    /** Maximum number of missing topics to query create permission for. */
    private const MAX_CREATE_CHECKS = 10;

    public function run(Context $context): iterable
    {
        $acl = new Acl(Acl::principal($context->settings['security']), (string) strtok($context->settings['brokers'], ','));
        $existing = $context->topicNames();
        $consumed = $context->consumed();
        // Topics that may not be described are not listed, so the configured ones are queried as well.
        $topics = array_slice(array_values(array_unique([...$consumed, ...$this->deadLetters($context, $existing)])), 0, self::MAX_TOPICS);
        $context->operations = $topics === [] ? [] : $context->admin()->operations($topics);
        $faults = 0;
        foreach ($this->findings($context, $acl, $existing, $consumed) as $finding) {
            $faults++;
            yield $finding;
        }
        if ($faults === 0) {
            $count = count(array_intersect($topics, $existing));
            yield Finding::ok(
                'access',
                "$acl->principal may " . match ($count) {
                    0 => '',
                    1 => 'read and write the topic of this application, and ',
                    default => "read and write all $count topics of this application, and ",
                } . "read as group $context->group",
                ['principal' => $acl->principal, 'topics' => $count]
            );
        }
    }

    /**
     * @param list<string> $existing
     * @param list<string> $consumed
     *
     * @return iterable<Finding>
     */
    private function findings(Context $context, Acl $acl, array $existing, array $consumed): iterable
    {
        $deadLetters = $this->deadLetters($context, $existing);
        $topics = array_values(array_diff($consumed, $deadLetters));
        $known = array_intersect_key($context->operations, array_flip($topics));
        yield from $acl->topics($known, $context->options->channels !== []);
        if ($context->settings['dlq']) {
            yield from $acl->deadLetters(array_intersect_key($context->operations, array_flip($deadLetters)));
        }
        yield from $this->group($context, $acl);
        yield from $this->creation($context, $acl, $existing);
    }

    /** @return iterable<Finding> */
    private function group(Context $context, Acl $acl): iterable
    {
        $operations = null;
        try {
            $operations = $context->admin()->group($context->group)['operations'];
        } catch (RealtimeException $e) {
            // A refusal means that nothing is allowed.
            $operations = self::isRefusal($e) ? [] : null;
        }
        if ($operations !== null && !Acl::has($operations, 'read')) {
            $context->block('group-access', "$acl->principal may not read as group $context->group");
            yield Finding::error(
                "group $context->group",
                "$acl->principal may not read as this group: its workers receive nothing",
                $acl->command("--group $context->group", 'Read'),
                ['operations' => $operations]
            );
        }
    }

    /**
     * @param list<string> $existing
     *
     * @return iterable<Finding>
     */
    private function creation(Context $context, Acl $acl, array $existing): iterable
    {
        if (!$context->settings['auto_create_topics']) {
            return;
        }
        $configured = array_map('strval', array_keys($context->plan()->wanted));
        $letters = $context->settings['dlq']
            ? array_map($context->plan()->deadLetters->deadLetters(...), array_intersect($context->consumed(), $existing))
            : [];
        $refused = $this->refused($context, array_values(array_diff($configured, $existing)));
        if ($refused !== []) {
            yield Finding::error(
                'topics of topic_mapping',
                Text::names($refused) . " cannot be created by $acl->principal, and " . (count($refused) === 1 ? 'is' : 'are')
                    . ' missing',
                'Create them as a user who may (realtime:topics:create, '
                    . 'kafka-topics.sh), or: ' . $acl->forTopics($refused, 'Create'),
                ['topics' => $refused]
            );
        }
        $refused = $this->refused($context, array_values(array_diff($letters, $existing)));
        if ($refused !== []) {
            yield Finding::error(
                'dead-letter topics',
                Text::names($refused) . " cannot be created by $acl->principal: the first message that fails "
                    . "permanently stops its worker",
                'Create them as a user who may (kafka-topics.sh), or: ' . $acl->forTopics($refused, 'Create', 'Write'),
                ['topics' => $refused]
            );
        }
    }

    /**
     * The topics that this user may not create.
     *
     * @param list<string> $topics
     *
     * @return list<string>
     */
    private function refused(Context $context, array $topics): array
    {
        $refused = [];
        foreach (array_slice($topics, 0, self::MAX_CREATE_CHECKS) as $topic) {
            if (($context->operations[$topic] ?? null) === []) {
                // Hidden topics are reported already.
                continue;
            }
            try {
                $context->admin()->createTopic($topic, validateOnly: true);
            } catch (RealtimeException $e) {
                if (self::isRefusal($e)) {
                    $refused[] = $topic;
                }
            }
        }

        return $refused;
    }

    private static function isRefusal(RealtimeException $e): bool
    {
        return stripos($e->getMessage(), 'authoriz') !== false || str_contains($e->getMessage(), 'ACL');
    }

    /**
     * The existing dead-letter topics of this application.
     *
     * @param list<string> $existing
     *
     * @return list<string>
     */
    private function deadLetters(Context $context, array $existing): array
    {
        $wanted = array_map($context->plan()->deadLetters->deadLetters(...), $context->consumed());

        return array_values(array_intersect($existing, $wanted));
    }
}
