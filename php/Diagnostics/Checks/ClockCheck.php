<?php

/**
 * Compares this machine's clock with the cluster's.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\ClockSkew;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;

/**
 * The controller of a KRaft cluster returns its time to users who may describe the cluster; otherwise use --write.
 */
final class ClockCheck implements Check
{
    public function name(): string
    {
        return 'clock';
    }

    public function title(): string
    {
        return 'Brokers';
    }

    public function needs(): array
    {
        return ['brokers'];
    }

    public function run(Context $context): iterable
    {
        foreach ($context->probes as $probe) {
            if ($probe->behind !== null) {
                $context->hasClock = true;
                yield ClockSkew::finding($probe->behind, 'the cluster\'s controller');

                return;
            }
        }
        foreach ($context->probes as $probe) {
            if (!$probe->hasController) {
                yield Finding::error(
                    'controller',
                    'the cluster\'s controller does not respond: no topic can be created, and no partition can change '
                        . 'its leader',
                    'Are most of the controller nodes up? Start those that are down; `kafka-metadata-quorum.sh '
                        . "--bootstrap-server $probe->address describe --status` shows them."
                );

                return;
            }
        }
        if ($context->isMock()) {
            return;
        }
        if (!$context->options->write) {
            yield Finding::skipped('clock', 'this user may not read the time of the cluster (Describe on the '
                . 'cluster); with --write it is taken from a record');
        }
    }
}
