<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Worker\Text;

/** Evaluates Kafka permissions by the needs of publishers and workers. */
final class Acl
{
    /**
     * @param string $principal Kafka principal: `User:shop`
     * @param string $server address of a broker, for commands
     */
    public function __construct(public readonly string $principal, private string $server)
    {
    }

    /**
     * Our principal, unless the broker maps it to another name.
     *
     * @param array<string, mixed> $security `security` of Admin::configuration()
     */
    public static function principal(array $security): string
    {
        if (str_starts_with($security['protocol'], 'sasl_')) {
            return 'User:' . ($security['username'] ?? '(the token\'s)');
        }
        $own = $security['protocol'] === 'ssl' && $security['certificate'] !== null
            ? @file_get_contents($security['certificate']) : false;
        $subject = $own === false || !extension_loaded('openssl') ? [] : openssl_x509_parse($own)['subject'] ?? [];
        $parts = [];
        foreach (array_reverse($subject) as $name => $value) {
            foreach ((array) $value as $one) {
                $parts[] = "$name=$one";
            }
        }

        return 'User:' . (implode(',', $parts) ?: 'ANONYMOUS');
    }

    /** @param list<string> $operations */
    public static function has(array $operations, string $operation): bool
    {
        $operations = array_map('strtolower', $operations);

        return in_array($operation, $operations, true) || in_array('all', $operations, true);
    }

    /**
     * A user that only publishes or only consumes is fine; a single topic that differs from the others is not.
     *
     * @param array<string, list<string>> $operations by topic
     * @param bool $consumed true if the user requested these topics with --channels
     *
     * @return iterable<Finding>
     */
    public function topics(array $operations, bool $consumed): iterable
    {
        $without = ['read' => [], 'write' => [], 'describe' => []];
        foreach ($operations as $topic => $allowed) {
            foreach (array_keys($without) as $operation) {
                if (!self::has($allowed, $operation)) {
                    $without[$operation][] = (string) $topic;
                }
            }
        }
        $hidden = array_values(array_intersect($without['describe'], $without['read'], $without['write']));
        if ($hidden !== []) {
            yield Finding::error(
                $this->where($hidden),
                "$this->principal may do nothing with "
                . (count($hidden) === 1 ? 'it' : 'them') . ': neither read nor write nor describe',
                $this->forTopics($hidden, 'Read', 'Write'),
                [
                    'topics' => $hidden,
                ]
            );
        }
        $effects = ['read' => 'workers receive none of its records', 'write' => 'broadcasts to it fail'];
        foreach ($effects as $operation => $so) {
            $topics = array_values(array_diff($without[$operation], $hidden));
            if ($topics === []) {
                continue;
            }
            $all = count($topics) + count($hidden) === count($operations);
            $text = "$this->principal may not $operation: " . (count($topics) === 1 ? $so : strtr($so, ['it' => 'them']));
            $remedy = $this->forTopics($topics, ucfirst($operation));
            yield $all && !($operation === 'read' && $consumed)
                ? Finding::warning(
                    $this->where($topics),
                    $text . ($operation === 'read' ? ' (sufficient for publishing only)'
                    : ' (sufficient for consuming only)'),
                    $remedy,
                    ['topics' => $topics]
                )
                : Finding::error($this->where($topics), $text, $remedy, ['topics' => $topics]);
        }
    }

    /**
     * @param array<string, list<string>> $operations by dead-letter topic
     *
     * @return iterable<Finding>
     */
    public function deadLetters(array $operations): iterable
    {
        $refused = [];
        foreach ($operations as $topic => $allowed) {
            if (!self::has($allowed, 'write')) {
                $refused[] = (string) $topic;
            }
        }
        if ($refused !== []) {
            yield Finding::error(
                $this->where($refused),
                "$this->principal may not write: a message that fails permanently cannot be stored "
                    . 'there and stops its worker',
                $this->forTopics($refused, 'Write'),
                ['topics' => $refused]
            );
        }
    }

    /** The command that grants a permission. */
    public function command(string $resource, string ...$operations): string
    {
        return "kafka-acls.sh --bootstrap-server $this->server --add --allow-principal '$this->principal' "
            . implode(' ', array_map(static fn (string $one): string => "--operation $one", $operations)) . " $resource"
            . ' (as an administrator; also check for deny rules: --list ' . strtok($resource, ' ') . ')';
    }

    /** @param list<string> $topics */
    private function where(array $topics): string
    {
        return (count($topics) === 1 ? 'topic ' : 'topics ') . Text::names($topics);
    }

    /**
     * The command that grants permissions for topics.
     *
     * @param list<string> $topics
     */
    public function forTopics(array $topics, string ...$operations): string
    {
        $named = implode(' ', array_map(static fn (string $one): string => "--topic $one", array_slice($topics, 0, 5)));

        return $this->command($named . (count($topics) > 5 ? ' …' : ''), ...$operations);
    }
}
