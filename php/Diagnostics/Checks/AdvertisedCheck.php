<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\BrokerProbe;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;

/**
 * Checks that the brokers can be reached at their advertised addresses. Clients get the addresses of all brokers
 * (advertised.listeners) from the first one they reach.
 */
final class AdvertisedCheck extends Check
{
    public const NAME = 'advertised';
    public const TITLE = 'Brokers';
    public const NEEDS = ['brokers'];

    public function run(Context $context): iterable
    {
        $brokers = $context->cluster?->brokers ?? [];
        $lost = 0;
        foreach ($brokers as $broker) {
            $address = (str_contains($broker['host'], ':') ? "[{$broker['host']}]" : $broker['host']) . ':' . $broker['port'];
            $known = isset($context->probes[$address]);
            $probe = $context->probe($address);
            $facts = ['address' => $address, 'id' => $broker['id'], 'step' => $probe->step];
            if ($probe->isReached()) {
                if (!$known) {
                    yield Finding::ok(
                        "broker {$broker['id']}",
                        "advertised as $address: " . implode(', ', $probe->passed),
                        $facts
                    );
                }
                continue;
            }
            $lost++;
            if ($known) {
                yield Finding::error(
                    "broker {$broker['id']}",
                    "$address belongs to the cluster, but $probe->step fails there (see above): the "
                        . "partitions it leads cannot be reached",
                    $probe->remedy,
                    $facts
                );
                continue;
            }
            $bootstrap = strtr($context->settings['brokers'], [',' => ', ']);
            $network = in_array($probe->step, [BrokerProbe::DNS, BrokerProbe::TCP], true);
            yield Finding::error(
                "broker {$broker['id']}",
                "tells clients to connect to $address (advertised.listeners), but from here $probe->step "
                    . "fails there: " . $probe->reason,
                $network
                    ? "Set advertised.listeners of that broker to an address that this machine can reach (it "
                        . "responds at $bootstrap), "
                        . "or make $address reachable from here" . ($probe->step === BrokerProbe::DNS
                        ? ' (/etc/hosts, DNS).' : '.')
                    : $probe->remedy,
                $facts
            );
        }
        if ($lost === count($brokers) && $brokers !== []) {
            $context->block(self::NAME, 'no broker can be reached at its advertised address');
        }
        if ($lost === 0) {
            $count = count($brokers);
            yield Finding::ok('cluster', ($count === 1 ? 'one broker, reachable' : "$count brokers, all reachable")
                . ' at advertised.listeners' . ($context->cluster?->cluster === null ? ''
                : ", id {$context->cluster->cluster}"), ['brokers' => $count, 'id' => $context->cluster?->cluster]);
        }
    }
}
