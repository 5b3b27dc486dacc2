<?php

/**
 * Connects to each configured broker and reports the step that fails.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Diagnostics\Wire\Probe;
use Toporia\Realtime\Diagnostics\Wire\WireException;

final class BrokersCheck implements Check
{
    public function name(): string
    {
        return 'brokers';
    }

    public function title(): string
    {
        return 'Brokers';
    }

    public function needs(): array
    {
        return ['files'];
    }

    public function run(Context $context): iterable
    {
        if ($context->settings->isEmbedded()) {
            $context->block($this->name(), 'the broker is embedded in each process');
            yield Finding::skipped('brokers', 'the broker is embedded in each process: the doctor has its own, '
                . 'empty one');

            return;
        }
        $security = $context->settings->security();
        if ($security->usesTls() && !extension_loaded('openssl')) {
            yield Finding::warning(
                'brokers',
                'cannot be checked one by one: this PHP has no openssl extension',
                'Install PHP\'s openssl extension for the command line. The application itself does not need it.'
            );

            return;
        }
        $probes = array_map($context->probe(...), $context->settings->addresses());
        $reached = array_values(array_filter($probes, static fn (Probe $probe): bool => $probe->isReached()));
        foreach ($probes as $probe) {
            yield $this->finding($probe, $reached !== []);
        }
        if ($reached === []) {
            $context->block($this->name(), count($probes) === 1 ? "the broker {$probes[0]->address} cannot be reached"
                : 'no broker in the list can be reached');

            return;
        }
        $context->cluster = $reached[0]->cluster;
        yield from $this->oneCluster($reached);
    }

    private function finding(Probe $probe, bool $others): Finding
    {
        $where = "broker $probe->address";
        $facts = ['address' => $probe->address, 'step' => $probe->failure?->step];
        if ($probe->failure === null) {
            return Finding::ok($where, implode(', ', $probe->passed) . ', responds', $facts);
        }
        $so = $probe->passed === [] ? '' : ' (' . implode(', ', $probe->passed) . ' worked)';
        $text = "{$probe->failure->step} fails: {$probe->failure->getMessage()}$so";
        $remedy = $probe->failure->remedy ?? 'Check the log of that broker.';
        $away = in_array($probe->failure->step, [WireException::DNS, WireException::TCP], true);
        // Clients only need one address to find the cluster; brokers that are members are checked by AdvertisedCheck.
        return $others && $away
            ? Finding::warning(
                $where,
                "$text; others in the list respond, so clients still find the cluster",
                $remedy,
                $facts
            )
            : Finding::error($where, $text, $remedy, $facts);
    }

    /**
     * @param non-empty-list<Probe> $reached
     *
     * @return iterable<Finding>
     */
    private function oneCluster(array $reached): iterable
    {
        $ids = [];
        foreach ($reached as $probe) {
            $ids[(string) ($probe->cluster['id'] ?? '')][] = $probe->address;
        }
        if (count($ids) > 1) {
            yield Finding::error(
                'brokers',
                'the list contains ' . count($ids) . ' different clusters: '
                    . implode(' and ', array_map(static fn (array $one): string => implode(', ', $one), $ids)),
                'Keep only the addresses of one cluster in `brokers` (KAFKA_BROKERS): which one a client '
                    . 'connects to is chance.'
            );
        }
    }
}
