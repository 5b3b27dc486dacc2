<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;

/** Reports broker certificates that will expire soon. Expired certificates are reported by BrokersCheck. */
final class CertificateCheck extends Check
{
    public const NAME = 'certificates';
    public const TITLE = 'Brokers';
    private const WARN_BEFORE = 14 * 86400;

    public function run(Context $context): iterable
    {
        $valid = $first = null;
        if (!extension_loaded('openssl') && str_ends_with($context->settings['security']['protocol'] ?? '', 'ssl')) {
            yield Finding::skipped('certificates', 'PHP\'s openssl extension, which reads them, is missing here');

            return;
        }
        foreach ($context->probes as $probe) {
            $certificate = $probe->certificate;
            if ($certificate === null || !$probe->isReached()) {
                continue;
            }
            $left = $certificate->until - time();
            $date = gmdate('Y-m-d H:i', $certificate->until) . ' UTC';
            $facts = ['address' => $probe->address, 'until' => gmdate('Y-m-d\TH:i:s\Z', $certificate->until)];
            $remedy = 'Renew the certificate on that broker (its key store), and reload or restart it.';
            if ($left < 0) {
                yield Finding::error("certificate of $probe->address", "expired on $date; it is accepted only because "
                    . 'security.verify is off', $remedy, $facts);
            } elseif ($left < self::WARN_BEFORE) {
                $days = intdiv($left, 86400);
                yield Finding::warning(
                    "certificate of $probe->address",
                    'expires in ' . ($days === 1 ? 'one day' : "$days days")
                    . ", on $date: after that no client can connect there",
                    $remedy,
                    $facts
                );
            } else {
                $valid = ($valid ?? 0) + 1;
                $first = min($first ?? PHP_INT_MAX, $certificate->until);
            }
        }
        if ($valid !== null) {
            yield Finding::ok('certificates', ($valid === 1 ? 'valid until ' : "$valid, the first ends on ")
                . gmdate('Y-m-d', (int) $first));
        }
    }
}
