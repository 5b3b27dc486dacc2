<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

/**
 * All checks of realtime:doctor, in order. Ordered from this machine outwards: a check comes after the checks it
 * depends on.
 */
final class Checks
{
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
}
