<?php

/**
 * Checks that the extension's own client can connect to the cluster.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor\Checks;

use Toporia\Realtime\Doctor\Check;
use Toporia\Realtime\Doctor\Context;
use Toporia\Realtime\Doctor\Finding;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Worker\Text;

final class ClientCheck implements Check
{
    public function name(): string
    {
        return 'client';
    }

    public function title(): string
    {
        return 'Brokers';
    }

    public function needs(): array
    {
        return ['extension', 'configuration', 'brokers', 'advertised'];
    }

    public function run(Context $context): iterable
    {
        $start = hrtime(true);
        try {
            $topics = count($context->topicNames());
        } catch (RealtimeException $e) {
            $context->block($this->name(), 'the extension does not reach the cluster');
            yield Finding::error(
                'client',
                'the doctor reaches the brokers, the extension does not: ' . $e->getMessage(),
                'Compare producer_config and consumer_config with `security`: what stands there is for the '
                    . 'extension alone.'
            );

            return;
        }
        if ($context->isMock()) {
            $context->block('admin', 'an embedded broker knows nothing of it');
            yield Finding::warning(
                'client',
                'this is an embedded development broker: it keeps everything in memory',
                'Right for development; elsewhere set brokers (KAFKA_BROKERS) to the addresses of your Kafka.'
            );
        }
        yield Finding::ok('client', sprintf(
            'the extension connects as the application does (%d ms) and sees %s',
            (hrtime(true) - $start) / 1e6,
            Text::count($topics, 'topic')
        ), ['topics' => $topics]);
    }
}
