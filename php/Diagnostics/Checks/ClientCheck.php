<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\Text;

/** Checks that the extension's own client can connect to the cluster. */
final class ClientCheck extends Check
{
    public const NAME = 'client';
    public const TITLE = 'Brokers';
    public const NEEDS = ['extension', 'configuration', 'brokers', 'advertised'];

    public function run(Context $context): iterable
    {
        $start = hrtime(true);
        try {
            $topics = count($context->topicNames());
        } catch (RealtimeException $e) {
            $context->block(self::NAME, 'the cluster does not respond');
            yield Finding::error(
                'client',
                'each broker can be reached, but the cluster does not respond: ' . $e->getMessage(),
                'Check the log of the brokers; is the cluster starting, or without a controller?'
            );

            return;
        }
        if ($context->isMock()) {
            $context->block('admin', 'not supported by an embedded broker');
            yield Finding::warning(
                'client',
                'this is an embedded development broker: all data is in memory',
                'For development only; otherwise set brokers (KAFKA_BROKERS) to the addresses of your Kafka.'
            );
        }
        yield Finding::ok('client', sprintf(
            'the extension connects as the application does (%d ms) and sees %s',
            (hrtime(true) - $start) / 1e6,
            Text::count($topics, 'topic')
        ), ['topics' => $topics]);
    }
}
