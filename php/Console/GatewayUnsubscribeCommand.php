<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputArgument;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Text;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:gateway:unsubscribe: unsubscribes connections from a channel, on all gateways. All subscribers of the
 * channel, those of one user, or one socket.
 */
#[AsCommand(
    'realtime:gateway:unsubscribe',
    'Unsubscribe a user, a socket or all subscribers from a channel, on all gateways'
)]
final class GatewayUnsubscribeCommand extends GatewayAdminCommand
{
    protected function configure(): void
    {
        $this
            ->addArgument('from', InputArgument::REQUIRED, 'The channel to unsubscribe from, such as private-order.7')
            ->addSelection('user', 'socket')
            ->setHelp(
                <<<'HELP'
                The connections stay open; clients receive a subscription_error.

                  <info>%command.full_name% private-order.7 --user=7</info>
                  <info>%command.full_name% presence-chat.1</info>         all subscribers

                Exit codes: 0 done (even without subscribers), 1 no gateway responds, 2 wrong usage.
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $from = OptionValue::text('The channel', $input->getArgument('from'))
            ?? throw new UsageError('The channel is required.');
        $selection = $this->selection($input);
        $count = $this->gateway($input)->unsubscribe($selection === [] ? ['channel' => $from] : $selection, $from);
        $input->getOption('json')
            ? $this->writeJson($output, ['ended' => $count])
            : $this->write($output, Text::count($count, 'subscription') . ' ended.');

        return self::DONE;
    }
}
