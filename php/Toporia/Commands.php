<?php

/**
 * This package's commands in Toporia, by name.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Toporia;

/**
 * One class per command, because the framework instantiates commands by class name. They behave the same in every host.
 */
final class Commands
{
    /** @var array<string, class-string<BridgedCommand>> */
    public const ALL = [
        'realtime:kafka:consume' => Commands\ConsumeCommand::class,
        'realtime:kafka:dev' => Commands\DevCommand::class,
        'realtime:kafka:publish' => Commands\PublishCommand::class,
        'realtime:restart' => Commands\RestartCommand::class,
        'realtime:doctor' => Commands\DoctorCommand::class,
        'realtime:dlq:list' => Commands\DlqListCommand::class,
        'realtime:dlq:show' => Commands\DlqShowCommand::class,
        'realtime:dlq:replay' => Commands\DlqReplayCommand::class,
        'realtime:dlq:purge' => Commands\DlqPurgeCommand::class,
        'realtime:outbox:relay' => Commands\OutboxRelayCommand::class,
        'realtime:outbox:table' => Commands\OutboxTableCommand::class,
        'realtime:spool' => Commands\SpoolCommand::class,
        'realtime:lag' => Commands\LagCommand::class,
        'realtime:topics' => Commands\TopicsCommand::class,
        'realtime:topics:list' => Commands\TopicsListCommand::class,
        'realtime:topics:describe' => Commands\TopicsDescribeCommand::class,
        'realtime:topics:create' => Commands\TopicsCreateCommand::class,
        'realtime:topics:compare' => Commands\TopicsCompareCommand::class,
        'realtime:gateway' => Commands\GatewayCommand::class,
        'realtime:gateway:connections' => Commands\GatewayConnectionsCommand::class,
        'realtime:gateway:kick' => Commands\GatewayKickCommand::class,
        'realtime:gateway:unsubscribe' => Commands\GatewayUnsubscribeCommand::class,
        'realtime:webhooks:send' => Commands\WebhooksSendCommand::class,
    ];
}
