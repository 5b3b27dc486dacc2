<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\UsageError;

/**
 * Base class of realtime:gateway:connections, :kick and :unsubscribe: the gateway's address and the selection options.
 * They call the HTTP API of one gateway, which forwards the request to all others.
 */
abstract class GatewayAdminCommand extends Command
{
    private const DESCRIPTIONS = [
        'user' => 'Connections of this user id (signed in, or member of a presence channel)',
        'socket' => 'The connection with this socket id',
        'channel' => 'Connections subscribed to this channel, such as private-order.7',
    ];

    /**
     * Adds the given selection options, and the options common to these commands.
     *
     * @param 'user'|'socket'|'channel' ...$options
     */
    protected function addSelection(string ...$options): static
    {
        foreach ($options as $option) {
            $this->addOption($option, null, InputOption::VALUE_REQUIRED, self::DESCRIPTIONS[$option]);
        }

        return $this
            ->addOption(
                'api',
                null,
                InputOption::VALUE_REQUIRED,
                'HTTP API of a gateway (host:port), overriding the configuration'
            )
            ->addOption('json', null, InputOption::VALUE_NONE, 'Print one JSON object per line');
    }

    /**
     * @return array<string, string> the given options, by name
     *
     * @throws UsageError an empty value
     */
    protected function selection(InputInterface $input): array
    {
        $selection = [];
        foreach (array_keys(self::DESCRIPTIONS) as $option) {
            $value = $input->hasOption($option) ? OptionValue::text("--$option", $input->getOption($option)) : null;
            if ($value !== null) {
                $selection[$option] = $value;
            }
        }
        if (isset($selection['socket']) && preg_match('/\A\d+\.\d+\z/', $selection['socket']) !== 1) {
            throw new UsageError(
                '--socket=' . OptionValue::shown($selection['socket']) . ' is not a socket id. Expected two '
                . 'numbers with a dot, as shown by realtime:gateway:connections.'
            );
        }

        return $selection;
    }

    /**
     * The gateway to call.
     *
     * @throws UsageError --api is not an address
     */
    protected function gateway(InputInterface $input): Gateway
    {
        $this->host->config();
        $given = $input->getOption('api');
        if ($given === null) {
            return new Gateway();
        }
        $address = OptionValue::address('--api', $given) + ['host' => '127.0.0.1'];
        if (!isset($address['port'])) {
            throw new UsageError('--api=' . OptionValue::shown($given) . ' has no port. Example: --api=127.0.0.1:6001');
        }
        $host = str_contains($address['host'], ':') ? "[{$address['host']}]" : $address['host'];

        return new Gateway(['api_listen' => "$host:{$address['port']}"]);
    }
}
