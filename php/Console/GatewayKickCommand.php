<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:gateway:kick: closes connections permanently (clients do not reconnect), on all gateways. Selects by user,
 * socket or channel; several conditions must all match.
 */
#[AsCommand(
    'realtime:gateway:kick',
    'Close the WebSocket connections of a user, a socket or a channel, on all gateways'
)]
final class GatewayKickCommand extends GatewayAdminCommand
{
    protected function configure(): void
    {
        $this
            ->addSelection('user', 'socket', 'channel')
            ->setHelp(
                <<<'HELP'
                The clients do not reconnect by themselves (close code 4009), but can after the page is reloaded: to
                keep a user out, the application must deny authorization.

                  <info>%command.full_name% --user=7</info>
                  <info>%command.full_name% --channel=private-order.7</info>

                Exit codes: 0 done (even without connections), 1 no gateway responds, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $selection = $this->selection($input);
        if ($selection === []) {
            throw new UsageError('One of --user, --socket or --channel is required.');
        }
        $count = $this->gateway($input)->kick($selection);
        $input->getOption('json')
            ? $this->writeJson($output, ['closed' => $count])
            : $this->write($output, Text::count($count, 'connection') . ' closed.');

        return self::DONE;
    }
}
