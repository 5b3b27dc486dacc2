<?php

/**
 * Compares this machine's clock with the cluster's.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor\Checks;

use Toporia\Realtime\Doctor\Check;
use Toporia\Realtime\Doctor\ClockSkew;
use Toporia\Realtime\Doctor\Context;
use Toporia\Realtime\Doctor\Finding;

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
                    'the cluster\'s controller does not answer: no topic can be created, and no partition changes its leader',
                    'Are most of the nodes with the controller role up? Start those that are down; `kafka-metadata-quorum.sh '
                        . "--bootstrap-server $probe->address describe --status` shows them."
                );

                return;
            }
        }
        if ($context->isMock()) {
            return;
        }
        if (!$context->options->write) {
            yield Finding::skipped('clock', 'this user may not ask the cluster for its time (Describe on the cluster); with '
                . '--write a record finds it out');
        }
    }
}
