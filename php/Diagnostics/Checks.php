<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Throwable;
use Toporia\Realtime\Exception\RealtimeException;

/**
 * All checks of realtime:doctor, in order. Ordered from this machine outwards: a check comes after the checks it
 * depends on.
 */
final class Checks
{
    /** @param list<Check> $checks in order: a check comes after the checks it depends on */
    public function __construct(private array $checks, private Report $report, private Secrets $secrets)
    {
    }

    /** @return list<Check> */
    public static function all(): array
    {
        return [
            new Checks\ExtensionCheck(),
            new Checks\SapiCheck(),
            new Checks\ConfigurationCheck(),
            new Checks\SecretFilesCheck(),
            new Checks\BrokersCheck(),
            new Checks\AdvertisedCheck(),
            new Checks\CertificateCheck(),
            new Checks\ClientCheck(),
            new Checks\AclCheck(),
            new Checks\TopicsCheck(),
            new Checks\GroupCheck(),
            new Checks\LagCheck(),
            new Checks\DeadLettersCheck(),
            new Checks\RoundTripCheck(),
            new Checks\SpoolCheck(),
            new Checks\OutboxCheck(),
            new Checks\MonitoringCheck(),
            new Checks\GatewayCheck(),
            new Checks\GatewayRunningCheck(),
            new Checks\DescriptorsCheck(),
        ];
    }

    public function run(Context $context): void
    {
        foreach ($this->checks as $check) {
            foreach ($this->check($check, $context) as $finding) {
                $this->report->finding($check, $this->secrets->redactFinding($finding));
            }
        }
    }

    /** @return iterable<Finding> */
    private function check(Check $check, Context $context): iterable
    {
        foreach ($check::NEEDS as $needed) {
            $why = $context->blocked($needed);
            if ($why !== null) {
                // Checks that depend on a skipped one are skipped for the same reason.
                $context->block($check::NAME, $why);
                yield Finding::skipped($check::NAME, "skipped: $why", $why);

                return;
            }
        }
        try {
            yield from $check->run($context);
        } catch (Throwable $e) {
            $context->block($check::NAME, "the check \"" . $check::NAME . '" failed');
            yield $this->failure($check, $e);
        }
    }

    private function failure(Check $check, Throwable $e): Finding
    {
        if ($e instanceof RealtimeException) {
            return Finding::error(
                $check::NAME,
                $e->getMessage(),
                'Run it again; if it persists, check the log of the brokers.'
            );
        }

        return Finding::error(
            $check::NAME,
            'could not be checked: ' . $e::class . ': ' . $e->getMessage()
                . ' (' . basename($e->getFile()) . ':' . $e->getLine() . ')',
            'This is a bug in the doctor. Please report this line.'
        );
    }
}
