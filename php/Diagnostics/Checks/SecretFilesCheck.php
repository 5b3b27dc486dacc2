<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;

/** Checks the existence and permissions of TLS files and files with secrets. */
final class SecretFilesCheck extends Check
{
    public const NAME = 'files';
    public const TITLE = 'Configuration';
    private const WORLD_READABLE = 0004;

    public function run(Context $context): iterable
    {
        foreach (['.env', 'config/realtime.php'] as $name) {
            $file = "$context->directory/$name";
            if (is_file($file) && $this->isWorldReadable($file) && $context->secrets->appearIn((string) @file_get_contents($file))) {
                yield Finding::warning(
                    $name,
                    "contains a password or secret and can be read by every user of this machine ($file)",
                    "chmod o-r $file (its group should be the one PHP runs as)"
                );
            }
        }
        $security = $context->settings['security'] ?? ['protocol' => ''];
        foreach (str_ends_with($security['protocol'], 'ssl') ? ['ca', 'certificate', 'key'] : [] as $setting) {
            if ($security[$setting] !== null) {
                yield from $this->check($context, $setting, $security[$setting]);
            }
        }
    }

    /** @return iterable<Finding> */
    private function check(Context $context, string $setting, string $file): iterable
    {
        $variable = ['ca' => 'KAFKA_SSL_CA_LOCATION', 'certificate' => 'KAFKA_SSL_CERTIFICATE_LOCATION',
            'key' => 'KAFKA_SSL_KEY_LOCATION'][$setting];
        $user = function_exists('posix_geteuid') ? (posix_getpwuid(posix_geteuid())['name'] ?? '') : get_current_user();
        if (!file_exists($file) || !is_readable($file)) {
            $context->block('files', "security.$setting cannot be read");
            yield Finding::error(
                "security.$setting",
                file_exists($file) ? "$file cannot be read by the user $user" : "there is no $file",
                "Set security.$setting ($variable) to a PEM file" . (file_exists($file) ? " that $user may read: chmod o+r or "
                    . "chgrp $file" : ', or create it.')
            );
        } elseif ($setting === 'key' && $this->isWorldReadable($file)) {
            yield Finding::error(
                'security.key',
                "every user of this machine can read the private key $file",
                "chmod 640 $file (its group should be the one PHP runs as); anyone who has read it can "
                    . "impersonate this application: " . 'renew it.'
            );
        } else {
            yield Finding::ok("security.$setting", "$file is there");
        }
    }

    private function isWorldReadable(string $file): bool
    {
        return ((int) @fileperms($file) & self::WORLD_READABLE) !== 0;
    }
}
