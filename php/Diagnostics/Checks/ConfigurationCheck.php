<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Support\Environment;

/**
 * Checks the configuration: what the extension refuses, and questionable settings. Reports all unknown settings, and
 * the first value that the extension refuses.
 */
final class ConfigurationCheck extends Check
{
    public const NAME = 'configuration';
    public const TITLE = 'Configuration';

    public function run(Context $context): iterable
    {
        $findings = $context->configuration->refused;
        if ($context->loadError !== null && !$context->configuration->reports($context->loadError)) {
            $findings[] = Finding::error(
                'config/realtime.php',
                $context->loadError,
                'Correct the file; `php config/realtime.php` shows PHP\'s error. The following checks run without it.'
            );
        }
        if ($context->configuration->settings !== null) {
            array_push($findings, ...self::questionable($context->settings));
        } else {
            $context->block(self::NAME, $context->configuration->why);
            if ($context->configuration->refused === []) {
                $findings[] = Finding::skipped('settings', "the extension reads and checks them: {$context->configuration->why}");
            }
        }
        yield from $findings;
        if ($findings === []) {
            $file = "$context->directory/config/realtime.php";
            yield Finding::ok('configuration', 'accepted, without contradictions (' . (is_file($file) ? $file
                : 'the environment and defaults') . ')');
        }
    }

    /**
     * @param array<string, mixed> $settings
     *
     * @return list<Finding>
     */
    private static function questionable(array $settings): array
    {
        $findings = [];
        foreach ([...$settings['warnings'], ...$settings['advice']] as $sentences) {
            // One sentence says what it is, the others what to do.
            [$text, $remedy] = explode('. ', $sentences, 2) + [1 => 'Remove it from the configuration.'];
            $findings[] = Finding::warning('configuration', rtrim($text, '.'), $remedy);
        }
        if (!$settings['idempotence'] && preg_grep('/idempotence/', $settings['warnings']) === []) {
            $findings[] = Finding::warning(
                'idempotence',
                'is off: a resent message can be duplicated or out of order',
                'Remove idempotence (enable.idempotence) from the configuration.'
            );
        }
        if ($settings['brokers'] === 'embedded') {
            $findings[] = self::embedded();
        }

        return [...$findings, ...self::security($settings)];
    }

    private static function embedded(): Finding
    {
        $production = in_array(strtolower(Environment::get('APP_ENV') ?? ''), ['production', 'prod', 'live'], true);
        $text = "is 'embedded': a broker in the memory of this process, invisible to other processes and lost "
            . "when it ends";
        $remedy = 'Set brokers (KAFKA_BROKERS) to the addresses of your Kafka: host:9092,host:9092';

        return $production ? Finding::error('brokers', "$text, and APP_ENV is production", $remedy)
            : Finding::warning('brokers', $text, "For tests and first steps only; otherwise: $remedy");
    }

    /**
     * @param array<string, mixed> $settings
     *
     * @return iterable<Finding>
     */
    private static function security(array $settings): iterable
    {
        $security = $settings['security'];
        $local = '/\A(?:\w+:\/\/)?(?:localhost|127\.[\d.]+|\[::1\])(?::|\z)/';
        $isLocal = preg_grep($local, explode(',', $settings['brokers']), PREG_GREP_INVERT) === [];
        if (!$isLocal && $security['protocol'] === 'sasl_plaintext' && $security['mechanism'] === 'PLAIN') {
            yield Finding::warning(
                'security',
                "sends the password of {$security['username']} in plain text over the network (PLAIN without TLS)",
                'Set security.protocol (KAFKA_SECURITY_PROTOCOL) to sasl_ssl, or security.mechanism to SCRAM-SHA-512.'
            );
        }
        if (str_ends_with($security['protocol'], 'ssl') && !$security['verify_name']) {
            yield Finding::warning(
                'security.verify',
                $security['verify']
                    ? 'the host name in the brokers\' certificates is not verified: any certificate of the same '
                        . 'authority is accepted'
                    : 'is off: an attacker in the network can read and change all messages',
                'Set security.ca (KAFKA_SSL_CA_LOCATION) to the authority\'s PEM file, and remove '
                    . ($security['verify'] ? 'ssl.endpoint.identification.algorithm.' : 'security.verify.')
            );
        }
    }
}
