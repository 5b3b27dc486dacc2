<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\BrokerProbe;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;

/** Connects to each configured broker and reports the step that fails. */
final class BrokersCheck extends Check
{
    public const NAME = 'brokers';
    public const TITLE = 'Brokers';
    public const NEEDS = ['configuration', 'files'];

    public function run(Context $context): iterable
    {
        if ($context->settings['brokers'] === 'embedded') {
            $context->block(self::NAME, 'the broker is embedded in each process');
            yield Finding::skipped('brokers', 'the broker is embedded in each process: the doctor has its own, '
                . 'empty one');

            return;
        }
        $probes = array_map($context->probe(...), explode(',', $context->settings['brokers']));
        $reached = array_values(array_filter($probes, static fn (BrokerProbe $probe): bool => $probe->isReached()));
        foreach ($probes as $probe) {
            yield $this->finding($probe, $reached !== []);
        }
        if ($reached === []) {
            $context->block(self::NAME, count($probes) === 1 ? "the broker {$probes[0]->address} cannot be reached"
                : 'no broker in the list can be reached');

            return;
        }
        $context->cluster = $reached[0];
        yield from $this->oneCluster($reached);
    }

    private function finding(BrokerProbe $probe, bool $others): Finding
    {
        $where = "broker $probe->address";
        $facts = ['address' => $probe->address, 'step' => $probe->step];
        if ($probe->isReached()) {
            return Finding::ok($where, implode(', ', $probe->passed) . ', responds', $facts);
        }
        $so = $probe->passed === [] ? '' : ' (' . implode(', ', $probe->passed) . ' worked)';
        $text = "$probe->step fails: $probe->reason$so";
        $away = in_array($probe->step, [BrokerProbe::DNS, BrokerProbe::TCP], true);
        // Clients only need one address to find the cluster; brokers that are members are checked by AdvertisedCheck.
        return $others && $away
            ? Finding::warning(
                $where,
                "$text; others in the list respond, so clients still find the cluster",
                $probe->remedy,
                $facts
            )
            : Finding::error($where, $text, $probe->remedy, $facts);
    }

    /**
     * @param non-empty-list<BrokerProbe> $reached
     *
     * @return iterable<Finding>
     */
    private function oneCluster(array $reached): iterable
    {
        $ids = [];
        foreach ($reached as $probe) {
            $ids[(string) $probe->cluster][] = $probe->address;
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
