<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Worker\Text;

/**
 * realtime:gateway:connections: lists connections, across all gateways. One line per connection, longest connected
 * first.
 */
#[AsCommand('realtime:gateway:connections', 'List the open WebSocket connections of all gateways')]
final class GatewayConnectionsCommand extends GatewayAdminCommand
{
    protected function configure(): void
    {
        $this
            ->addSelection('user', 'socket', 'channel')
            ->setHelp(
                <<<'HELP'
                  <info>%command.full_name% --channel=presence-chat.1</info>
                  <info>%command.full_name% --user=7 --json</info>

                Exit codes: 0 done (even without connections), 1 no gateway responds, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $found = $this->gateway($input)->connections($this->selection($input));
        usort($found, static fn (array $a, array $b): int => $b['seconds'] <=> $a['seconds']);
        if ($input->getOption('json')) {
            array_map(fn (array $connection) => $this->writeJson($output, $connection), $found);

            return self::DONE;
        }
        foreach ($found as $connection) {
            $this->write($output, self::line($connection));
        }
        $nodes = count(array_unique(array_column($found, 'node')));
        $this->write($output, Text::count(count($found), 'connection') . ($nodes > 1 ? " on $nodes gateways." : '.'));

        return self::DONE;
    }

    /** @param array<string, mixed> $connection */
    private static function line(array $connection): string
    {
        return rtrim(sprintf(
            '%-28s %-16s %8s  %-12s %s',
            $connection['socket_id'],
            $connection['address'],
            Text::number($connection['seconds']) . ' s',
            Text::printable((string) ($connection['user'] ?? '-')),
            Text::printable(implode(' ', $connection['channels']))
        ));
    }
}
