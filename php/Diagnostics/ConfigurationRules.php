<?php

/**
 * Detects valid settings that are probably not intended, at least in production.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Support\Environment;

/**
 * Each rule is a method that returns a finding or null.
 */
final class ConfigurationRules
{
    private Settings $settings;

    public function __construct(private Context $context)
    {
        $this->settings = $context->settings;
    }

    /** @return list<Finding> */
    public function findings(): array
    {
        return array_values(array_filter([
            $this->acks(),
            $this->atMostOnce(),
            $this->embedded(),
            $this->spool(),
            $this->mapping(),
            $this->transactionalId(),
            $this->unusedSecurity(),
            $this->clearPassword(),
            $this->verification(),
            $this->autoCommit(),
        ]));
    }

    private function acks(): ?Finding
    {
        $acks = strtolower($this->settings->text('acks', 'all'));
        if ($acks !== 'all' && $acks !== '-1') {
            // The extension rejects this combination with exactly-once.
            return $this->delivery() === 'exactly-once' ? $this->withoutExtension(
                "acks is $acks, which contradicts delivery 'exactly-once'",
                'Remove acks, or set it to \'all\'.'
            ) : Finding::warning(
                'acks',
                "is $acks: after a broker failure, messages can be lost, duplicated or out of order",
                'Remove acks from the configuration, or set it to \'all\'.'
            );
        }

        return $this->settings->flag('idempotence', true) ? null : Finding::warning(
            'idempotence',
            'is off: a resent message can be duplicated or out of order',
            'Remove idempotence (enable.idempotence) from the configuration.'
        );
    }

    private function atMostOnce(): ?Finding
    {
        if ($this->delivery() !== 'at-most-once') {
            return null;
        }
        $useless = [];
        foreach (['dlq' => $this->settings->get('dlq'), 'max_retries' => $this->settings->get('max_retries')] as $key => $value) {
            if ($value !== null && filter_var($value, FILTER_VALIDATE_BOOL) !== false && $value !== 0 && $value !== '0') {
                $useless[] = $key;
            }
        }

        return $useless === [] ? null : Finding::warning(
            'delivery',
            'is at-most-once, which neither retries nor writes dead letters: ' . implode(' and ', $useless)
                . ' has no effect',
            'Set delivery to \'at-least-once\' to keep failed messages; otherwise remove '
                . implode(' and ', $useless) . ' out.'
        );
    }

    private function embedded(): ?Finding
    {
        if (!$this->settings->isEmbedded()) {
            return null;
        }
        $production = in_array(strtolower(Environment::get('APP_ENV') ?? ''), ['production', 'prod', 'live'], true);
        $text = "is 'embedded': a broker in the memory of this process, invisible to other processes and lost "
            . "when it ends";
        $remedy = 'Set brokers (KAFKA_BROKERS) to the addresses of your Kafka: host:9092,host:9092';

        return $production ? Finding::error('brokers', "$text, and APP_ENV is production", $remedy)
            : Finding::warning('brokers', $text, "For tests and first steps only; otherwise: $remedy");
    }

    private function spool(): ?Finding
    {
        if ($this->settings->get('spool') !== null || Environment::get('APP_ENV') === 'testing') {
            return null;
        }

        return Finding::warning(
            'spool',
            'is not set: messages that Kafka has not acknowledged when a process ends are lost, with a line in '
                . 'PHP\'s error '
                . 'log',
            'Set spool (REALTIME_SPOOL) to a directory that the users of PHP-FPM and of the workers can write to, '
                . 'such as /var/lib/realtime; or to false if they may be lost.'
        );
    }

    private function mapping(): ?Finding
    {
        $mapping = $this->settings->get('topic_mapping');

        return !is_array($mapping) || $mapping === [] || $this->context->topics->isGrouped() ? null : Finding::warning(
            'topic_mapping',
            'has no effect: topic_strategy is \'' . $this->settings->text('topic_strategy', 'one-per-channel') . '\'',
            'Set topic_strategy (KAFKA_TOPIC_STRATEGY) to \'grouped\', or remove topic_mapping. This changes the '
                . 'topics of channels: their topics by that: publishers, workers and gateways need it at the same time.'
        );
    }

    private function transactionalId(): ?Finding
    {
        $id = $this->settings->text('transactional_id', '');

        return $id === '' || $this->delivery() === 'exactly-once' ? null : Finding::warning(
            'transactional_id',
            "is set, but delivery is {$this->delivery()}, which has no transactions",
            'Remove transactional_id, or set delivery to \'exactly-once\'.'
        );
    }

    private function unusedSecurity(): ?Finding
    {
        $security = $this->settings->security();
        $unused = array_keys(array_filter([
            'a user name' => !$security->usesSasl() && $security->username !== null,
            'a CA file' => !$security->usesTls() && $security->ca !== null,
        ]));

        return $unused === [] ? null : Finding::warning(
            'security.protocol',
            "is $security->protocol, so that " . implode(' and ', $unused) . ' that ' . (count($unused) === 1 ? 'is' : 'are')
                . ' set ' . (count($unused) === 1 ? 'is' : 'are') . ' not used',
            'Set security.protocol (KAFKA_SECURITY_PROTOCOL) to ' . ($security->username === null ? 'ssl'
                : ($security->ca === null && !$security->usesTls() ? 'sasl_plaintext or sasl_ssl' : 'sasl_ssl'))
                . ', or remove the rest.'
        );
    }

    private function clearPassword(): ?Finding
    {
        $security = $this->settings->security();
        if ($security->usesTls() || $this->isLocal()) {
            return null;
        }
        if ($security->usesSasl() && $security->mechanism === 'PLAIN') {
            return Finding::warning(
                'security',
                'sends the password of ' . $security->username . ' in plain text over the network (PLAIN without TLS)',
                'Set security.protocol (KAFKA_SECURITY_PROTOCOL) to sasl_ssl, or security.mechanism to SCRAM-SHA-512.'
            );
        }

        return null;
    }

    private function verification(): ?Finding
    {
        $security = $this->settings->security();
        if (!$security->usesTls() || $security->verify && $security->verifyName) {
            return null;
        }

        return Finding::warning(
            'security.verify',
            $security->verify ? 'the host name in the brokers\' certificates is not verified: any certificate of '
                . 'the same '
                . 'authority is accepted' : 'is off: an attacker in the network can read and change all messages',
            'Set security.ca (KAFKA_SSL_CA_LOCATION) to the authority\'s PEM file, and take '
                . ($security->verify ? 'ssl.endpoint.identification.algorithm' : 'security.verify') . ' out.'
        );
    }

    private function autoCommit(): ?Finding
    {
        $consumer = $this->settings->get('consumer_config');
        $set = is_array($consumer) ? $consumer['enable.auto.commit'] ?? null : null;

        return $set === null || !filter_var($set, FILTER_VALIDATE_BOOL) ? null : Finding::warning(
            'consumer_config',
            'enable.auto.commit is ignored: offsets are committed after the callback has returned',
            'Remove enable.auto.commit from consumer_config.'
        );
    }

    /** If the extension is loaded, it reports this itself. */
    private function withoutExtension(string $text, string $remedy): ?Finding
    {
        return $this->context->hasExtension() ? null : Finding::error('settings', $text, $remedy);
    }

    private function delivery(): string
    {
        return $this->settings->text('delivery', 'at-least-once');
    }

    /** True if all brokers run on this machine. */
    private function isLocal(): bool
    {
        foreach ($this->settings->addresses() as $address) {
            if (preg_match('/\A(?:\w+:\/\/)?(?:localhost|127\.[\d.]+|\[::1\])(?::|\z)/', $address) !== 1) {
                return false;
            }
        }

        return true;
    }
}
