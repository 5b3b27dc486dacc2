<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Toporia\Realtime\Admin;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Metrics;
use Toporia\Realtime\Support\StopFlag;
use Toporia\Realtime\Webhooks\Endpoint;
use Toporia\Realtime\Webhooks\WebhookSender;
use Toporia\Realtime\Worker\OptionValue;
use Toporia\Realtime\Worker\Reporter;
use Toporia\Realtime\Worker\RestartSignal;
use Toporia\Realtime\Worker\RunOptions;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\Terminal;
use Toporia\Realtime\Worker\UsageError;

/**
 * realtime:webhooks:send: posts the webhooks of the gateways to the application. Reads the input and assembles the
 * parts; WebhookSender does the work.
 */
#[AsCommand(
    'realtime:webhooks:send',
    'Post the webhooks of the gateways to the application, signed as Pusher signs them'
)]
final class WebhooksSendCommand extends Command
{
    protected function configure(): void
    {
        $value = InputOption::VALUE_REQUIRED;
        RunOptions::defineWithLimits($this);
        $this
            ->addOption('broker', null, $value, 'Broker name in the configuration', 'kafka')
            ->addOption(
                'url',
                null,
                $value | InputOption::VALUE_IS_ARRAY,
                'Receiver, may be repeated; overrides the configuration (gateway.webhook_urls)'
            )
            ->addOption('retry', null, $value, 'Retry a request for N seconds, then dead-letter its events', '300')
            ->setHelp(
                <<<'HELP'
                Needs REALTIME_APP_KEY, REALTIME_APP_SECRET and REALTIME_WEBHOOK_URLS, or the same under
                <info>gateway</info> in config/realtime.php. Several senders may run: one posts, the others take over.

                The first start begins with new events. An event is posted at least once.

                  <info>%command.full_name% --url=https://shop.example/webhooks</info>
                HELP
            );
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $raw = $input->getOptions();
        $config = $this->host->config();
        $broker = OptionValue::text('--broker', $raw['broker']) ?? 'kafka';
        $prefix = (new Admin(['broker' => $broker]))->configuration()['topic_prefix'];
        $retry = OptionValue::int('--retry', $raw['retry'], 0, 86400);
        $endpoints = self::endpoints($raw['url']);
        $reporter = new Reporter(new Terminal($output), (bool) $raw['json']);
        [$maxTime, $maxMemory] = RunOptions::limits($raw);
        RunOptions::start($raw, $reporter->event(...));
        $restart = RestartSignal::of($config, $this->host->directory());
        $signal = new StopFlag();
        try {
            $sender = new WebhookSender(
                $this->broker($broker, [
                    'consumer_group' => "$prefix.webhooks",
                    'consumer_config' => [
                        // The first start does not post the events of the past week.
                        'auto.offset.reset' => 'latest',
                        // Longer than the retries, during which the sender does not poll.
                        'max.poll.interval.ms' => max(300_000, ($retry + 60) * 1000),
                    ],
                ]),
                "$prefix.__events",
                $endpoints,
                $retry,
                StopConditions::of($maxTime, $maxMemory, $restart, StopConditions::heartbeat(...), $signal->reason(...)),
                $reporter
            );

            return $sender->run();
        } finally {
            $signal->release();
            Metrics::stop();
        }
    }

    /**
     * @param list<string> $given URLs of the command line
     *
     * @return list<Endpoint>
     */
    private static function endpoints(array $given): array
    {
        ['key' => $key, 'secret' => $secret, 'webhook_urls' => $urls] = Gateway::configuration();
        $urls = $given === [] ? $urls : $given;
        if ($urls === []) {
            throw new UsageError('No receiver: set REALTIME_WEBHOOK_URLS (gateway.webhook_urls) or --url.');
        }
        if ($key === '' || $secret === '') {
            throw new UsageError('Webhooks are signed: set REALTIME_APP_KEY and REALTIME_APP_SECRET.');
        }

        return array_map(static fn (string $url): Endpoint => new Endpoint($url, $key, $secret), array_values($urls));
    }
}
