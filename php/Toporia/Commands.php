<?php

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

/**
 * This package's commands in Toporia. The framework makes commands by their class name and gives them nothing that
 * tells which one is meant, so each needs a class of its own. These classes differ in name and description only;
 * DropIn's autoloader declares them from the table.
 */
final class Commands
{
    /** Name of the command → class and description. */
    public const TABLE = [
        'realtime:kafka:consume' => [
            'ConsumeCommand',
            'Consume channels from Kafka and pass each message to its handler',
        ],
        'realtime:kafka:dev' => [
            'DevCommand',
            'Run the embedded development broker until Ctrl-C',
        ],
        'realtime:kafka:publish' => [
            'PublishCommand',
            'Send an event to a channel, or one per line of standard input',
        ],
        'realtime:restart' => [
            'RestartCommand',
            'Make running workers finish the current record and exit',
        ],
        'realtime:doctor' => [
            'DoctorCommand',
            'Check everything between PHP and Kafka, and suggest remedies',
        ],
        'realtime:dlq:list' => [
            'DlqListCommand',
            'List dead letters: messages that could not be handled',
        ],
        'realtime:dlq:show' => [
            'DlqShowCommand',
            'Show one dead letter: why it failed, its headers, its payload',
        ],
        'realtime:dlq:replay' => [
            'DlqReplayCommand',
            'Send dead letters back to their topics, for the consumer group that failed',
        ],
        'realtime:dlq:purge' => [
            'DlqPurgeCommand',
            'Delete dead letters permanently',
        ],
        'realtime:outbox:relay' => [
            'OutboxRelayCommand',
            'Send the rows of the transactional outbox to Kafka',
        ],
        'realtime:outbox:table' => [
            'OutboxTableCommand',
            'Create the tables of the transactional outbox',
        ],
        'realtime:spool' => [
            'SpoolCommand',
            'List messages in the spool, and adopt those of another configuration',
        ],
        'realtime:lag' => [
            'LagCommand',
            'Show the lag of consumer groups, and whether they catch up',
        ],
        'realtime:topics' => [
            'TopicsCommand',
            'List the topics of this application, and differences from the configuration',
        ],
        'realtime:topics:list' => [
            'TopicsListCommand',
            'List the topics of this application',
        ],
        'realtime:topics:describe' => [
            'TopicsDescribeCommand',
            'Describe a topic: partitions, leaders, offsets, settings, permissions',
        ],
        'realtime:topics:create' => [
            'TopicsCreateCommand',
            'Create the missing topics of topic_mapping, or the named topics',
        ],
        'realtime:topics:compare' => [
            'TopicsCompareCommand',
            'Compare the topics with the configuration and show remedies',
        ],
        'realtime:gateway' => [
            'GatewayCommand',
            'Run the WebSocket gateway, which delivers broadcasts to browsers (pusher-js, laravel-echo)',
        ],
        'realtime:gateway:connections' => [
            'GatewayConnectionsCommand',
            'List the open WebSocket connections of all gateways',
        ],
        'realtime:gateway:kick' => [
            'GatewayKickCommand',
            'Close the WebSocket connections of a user, a socket or a channel, on all gateways',
        ],
        'realtime:gateway:unsubscribe' => [
            'GatewayUnsubscribeCommand',
            'Unsubscribe a user, a socket or all subscribers from a channel, on all gateways',
        ],
        'realtime:webhooks:send' => [
            'WebhooksSendCommand',
            'Post the webhooks of the gateways to the application, signed as Pusher signs them',
        ],
    ];

    /**
     * @return array<string, class-string<BridgedCommand>> by name
     */
    public static function all(): array
    {
        return array_map(static fn (array $row): string => DropIn::COMMANDS . $row[0], self::TABLE);
    }

    /**
     * Declares the class of a command; called by the autoloader of DropIn.
     */
    public static function declare(string $class): void
    {
        $name = array_search($class, self::all(), true);
        if ($name !== false) {
            $description = var_export(self::TABLE[$name][1], true);
            // The engine has no other way to declare a class with a given name.
            eval('namespace ' . rtrim(DropIn::COMMANDS, '\\') . '; final class ' . self::TABLE[$name][0] . ' extends \\'
                . BridgedCommand::class . "{protected string \$signature='$name';protected string \$description=$description;}");
        }
    }
}
