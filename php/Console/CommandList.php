<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Application as SymfonyApplication;
use Symfony\Component\Console\Command\Command as SymfonyCommand;

/** The commands that every host offers: the plain PHP console and the integrations for frameworks. */
final class CommandList
{
    /** By name, so that a host can register them without loading their classes. */
    public const CLASSES = [
        'realtime:kafka:consume' => ConsumeCommand::class,
        'realtime:kafka:dev' => DevCommand::class,
        'realtime:kafka:publish' => PublishCommand::class,
        'realtime:restart' => RestartCommand::class,
        'realtime:doctor' => DoctorCommand::class,
        'realtime:dlq:list' => DlqListCommand::class,
        'realtime:dlq:show' => DlqShowCommand::class,
        'realtime:dlq:replay' => DlqReplayCommand::class,
        'realtime:dlq:purge' => DlqPurgeCommand::class,
        'realtime:outbox:relay' => OutboxRelayCommand::class,
        'realtime:outbox:table' => OutboxTableCommand::class,
        'realtime:spool' => SpoolCommand::class,
        'realtime:lag' => LagCommand::class,
        'realtime:topics' => TopicsCommand::class,
        'realtime:topics:list' => TopicsListCommand::class,
        'realtime:topics:describe' => TopicsDescribeCommand::class,
        'realtime:topics:create' => TopicsCreateCommand::class,
        'realtime:topics:compare' => TopicsCompareCommand::class,
        'realtime:gateway' => GatewayCommand::class,
        'realtime:gateway:connections' => GatewayConnectionsCommand::class,
        'realtime:gateway:kick' => GatewayKickCommand::class,
        'realtime:gateway:unsubscribe' => GatewayUnsubscribeCommand::class,
        'realtime:webhooks:send' => WebhooksSendCommand::class,
    ];

    /** @return list<Command> */
    public static function of(Host $host): array
    {
        return array_map(static fn (string $class): Command => new $class($host), array_values(self::CLASSES));
    }

    /**
     * Adds commands to an application of any version of Symfony Console.
     *
     * @param iterable<SymfonyCommand> $commands
     */
    public static function add(SymfonyApplication $application, iterable $commands): void
    {
        foreach ($commands as $command) {
            // Symfony 8 only has addCommand(), versions before 7.4 only add().
            method_exists($application, 'addCommand') ? $application->addCommand($command) : $application->add($command);
        }
    }
}
