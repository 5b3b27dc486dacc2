<?php

/**
 * Checks the user's permissions for topics, group and transactional id.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Closure;
use Toporia\Realtime\Diagnostics\Acl;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\NameList;
use Toporia\Realtime\Diagnostics\Wire\ConnectionClosed;
use Toporia\Realtime\Diagnostics\Wire\WireException;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * Queries the permissions; does not try the operations.
 */
final class AclCheck implements Check
{
    /** Maximum number of topics to query. */
    private const MAX_TOPICS = 500;
    /** Maximum number of missing topics to query create permission for. */
    private const MAX_CREATE_CHECKS = 10;

    public function name(): string
    {
        return 'acl';
    }

    public function title(): string
    {
        return 'Permissions';
    }

    public function needs(): array
    {
        return ['client', 'admin'];
    }

    public function run(Context $context): iterable
    {
        $acl = new Acl(Acl::principal($context->settings->security()), $context->settings->addresses()[0]);
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
        if ($context->settings->flag('dlq', true)) {
            yield from $acl->deadLetters(array_intersect_key($context->operations, array_flip($deadLetters)));
        }
        yield from $this->group($context, $acl);
        yield from $this->creation($context, $acl, $existing);
        yield from $this->transactions($context, $acl);
    }

    /** @return iterable<Finding> */
    private function group(Context $context, Acl $acl): iterable
    {
        $operations = null;
        try {
            $operations = $context->admin()->group($context->group)['operations'];
        } catch (RealtimeException $e) {
            // An authorization error means that nothing is allowed.
            $operations = stripos($e->getMessage(), 'authoriz') !== false || str_contains($e->getMessage(), 'ACL') ? [] : null;
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
        if (!$context->settings->flag('auto_create_topics', true)) {
            return;
        }
        $configured = array_map('strval', array_keys($context->topics->configured()));
        $letters = $context->settings->flag('dlq', true)
            ? array_map($context->deadLetters->deadLetters(...), array_intersect($context->consumed(), $existing))
            : [];
        $refused = $this->refused($context, array_values(array_diff($configured, $existing)));
        if ($refused !== []) {
            yield Finding::error(
                'topics of topic_mapping',
                NameList::short($refused) . " cannot be created by $acl->principal, and " . (count($refused) === 1 ? 'is' : 'are')
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
                NameList::short($refused) . " cannot be created by $acl->principal: the first message that fails "
                    . "permanently stops "
                    . 'its worker',
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
            // Hidden topics are reported already.
            $may = ($context->operations[$topic] ?? null) === [] ? null
                : $this->query(static fn (): ?bool => $context->client()?->mayCreate($topic));
            if ($may === false) {
                $refused[] = $topic;
            }
        }

        return $refused;
    }

    /** @return iterable<Finding> */
    private function transactions(Context $context, Acl $acl): iterable
    {
        $id = $context->settings->text('transactional_id', '');
        if ($context->settings->text('delivery', '') !== 'exactly-once') {
            return;
        }
        // The default id consists of host, group and a slot number.
        $id = $id === '' ? (gethostname() ?: 'localhost') . "-$context->group-0" : $id;
        $coordinator = $this->query(static fn (): ?array => $context->client()?->coordinator($id, true));
        if (($coordinator['error'] ?? 0) === Acl::TRANSACTIONAL_ID_REFUSED) {
            yield Finding::error(
                "transactional id $id",
                "$acl->principal may not use it: delivery exactly-once needs transactions",
                $acl->command("--transactional-id $id", 'Write', 'Describe')
            );
        }
    }

    /** Null if the broker does not support the request. */
    private function query(Closure $request): mixed
    {
        try {
            return $request();
        } catch (WireException | ConnectionClosed) {
            return null;
        }
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
        $wanted = array_map($context->deadLetters->deadLetters(...), $context->consumed());

        return array_values(array_intersect($existing, $wanted));
    }
}
