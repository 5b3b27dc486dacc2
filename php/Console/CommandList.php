<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

/**
 * The commands that every host offers. Used by the plain PHP console and by the integrations for frameworks.
 */
final class CommandList
{
    /**
     * @return list<Command>
     */
    public static function of(Host $host): array
    {
        return [
            new ConsumeCommand($host),
            new DevCommand(),
            new DoctorCommand($host),
            new OutboxRelayCommand($host),
            new OutboxTableCommand($host),
            new DlqListCommand($host),
            new DlqPurgeCommand($host),
            new DlqReplayCommand($host),
            new DlqShowCommand($host),
            new GatewayCommand($host),
            new GatewayConnectionsCommand(),
            new GatewayKickCommand(),
            new GatewayUnsubscribeCommand(),
            new LagCommand($host),
            new PublishCommand(),
            new RestartCommand($host),
            new SpoolCommand($host),
            new TopicsListCommand($host, true),
            new TopicsListCommand($host),
            new TopicsCompareCommand($host),
            new TopicsCreateCommand($host),
            new TopicsDescribeCommand($host),
            new WebhooksSendCommand($host),
        ];
    }
}
