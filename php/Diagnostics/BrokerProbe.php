<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use Toporia\Realtime\Admin;

/**
 * The attempt to connect to one broker: the steps that passed, the one that failed, and what to do about it. The
 * extension reports the steps (Admin::probe()); certificates are read with PHP's openssl extension.
 */
final class BrokerProbe
{
    public const DNS = 'DNS';
    public const TCP = 'TCP';
    public const TLS = 'TLS';
    public const API = 'API';
    public const SASL = 'SASL';

    /** librdkafka's name of the error. */
    private const TIMED_OUT = '_TIMED_OUT';
    private const PROTOCOL = 'security.protocol (KAFKA_SECURITY_PROTOCOL)';

    /** @var list<string> successful steps: `TCP 2 ms`, `TLSv1.3` */
    public readonly array $passed;
    public readonly ?Certificate $certificate;
    /** Id of the cluster; null after a failure. */
    public readonly ?string $cluster;
    /** @var list<array{id: int, host: string, port: int}> advertised addresses of all brokers */
    public readonly array $brokers;
    /** The failed step. */
    public readonly ?string $step;
    public readonly string $reason;
    public readonly string $remedy;
    /** True if the broker supports `group.protocol=consumer` (KIP-848). */
    public readonly bool $hasConsumerProtocol;

    private string $host;
    private int $port;

    /**
     * @param string $address `host:port`, `[v6]:port`
     * @param array<string, mixed> $security `security` of Admin::configuration()
     * @param float $timeout timeout per step, in seconds
     */
    public function __construct(Admin $admin, public readonly string $address, private array $security, float $timeout)
    {
        [$this->host, $this->port] = self::split($address);
        $found = $admin->probe("$this->host:$this->port", (int) ($timeout * 1000));
        $this->cluster = $found['id'];
        $this->brokers = $found['brokers'];
        $this->hasConsumerProtocol = in_array('BrokerBalancedConsumer', $found['features'], true);
        $failed = $found['failure'];
        $isAway = in_array($failed['step'] ?? '', [self::DNS, self::TCP], true);
        $this->certificate = $isAway || !$this->usesTls() && $failed === null ? null
            : Certificate::read($this->host, $this->port, $timeout);
        $this->passed = $this->passed($found['steps'], $failed['step'] ?? null);
        [$this->step, $this->reason, $this->remedy] = $failed === null ? [null, '', '']
            : $this->explain(
                // The broker has told its API versions, and closes the connection at the first request.
                isset($found['steps'][self::API]) && !$this->usesSasl() && $failed['error'] !== self::TIMED_OUT
                    ? self::SASL : $failed['step'],
                $failed['error'],
                $failed['text'],
                $timeout
            );
    }

    /**
     * Host and port of an address; the default port is 9092.
     *
     * @return array{string, int}
     */
    public static function split(string $address): array
    {
        $address = (string) preg_replace('~\A\w+://~', '', trim($address));
        if (preg_match('/\A(\[.+\]|[^:]+)(?::(\d+))?\z/', $address, $match) !== 1) {
            return [$address, 9092];
        }

        return [$match[1], (int) ($match[2] ?? 9092)];
    }

    public function isReached(): bool
    {
        return $this->step === null;
    }

    private function usesTls(): bool
    {
        return str_ends_with($this->security['protocol'], 'ssl');
    }

    private function usesSasl(): bool
    {
        return str_starts_with($this->security['protocol'], 'sasl_');
    }

    /**
     * @param array<string, int> $steps ms by step
     *
     * @return list<string>
     */
    private function passed(array $steps, ?string $failed): array
    {
        $passed = [];
        foreach ($steps as $step => $ms) {
            if ($step === self::TCP) {
                $passed[] = 'TCP ' . max(1, $ms) . ' ms';
            } elseif ($step === self::TLS && $failed !== self::TLS) {
                $passed[] = $this->certificate === null ? 'TLS'
                    : "{$this->certificate->protocol}, certificate valid until " . gmdate('Y-m-d', $this->certificate->until);
            } elseif ($step === self::SASL) {
                $user = $this->security['username'];
                $passed[] = $this->security['mechanism'] . ($user === null ? '' : " as $user");
            }
        }

        return $passed;
    }

    /**
     * @param string $error librdkafka's name of the error
     * @param string $text librdkafka's text
     *
     * @return array{string, string, string} step, reason, remedy
     */
    private function explain(string $step, string $error, string $text, float $timeout): array
    {
        // Without a token the client does not connect; the text says why there is none.
        $hasNoToken = $error === self::TIMED_OUT && $step === self::SASL && !str_starts_with($text, 'no response');
        $isSilent = $error === self::TIMED_OUT && !$hasNoToken;
        $host = trim($this->host, '[]');
        if ($step === self::DNS) {
            return [$step, "the name $host cannot be resolved here",
                "Check the spelling, `getent hosts $host`, /etc/hosts and /etc/resolv.conf."];
        }
        if ($step === self::TCP) {
            return stripos($text, 'refused') !== false
                ? [$step, "$host refuses connections to port $this->port: nothing listens there",
                    'Start the broker, or correct its address in `brokers` (KAFKA_BROKERS).']
                : [$step, "$host cannot be connected to at port $this->port (" . ($isSilent ? 'no response' : $text) . ')',
                    'Does a firewall or a security group block the connection? Is the machine up?'];
        }
        if ($isSilent) {
            return [$step, "the port is open, but nothing responds within $timeout s",
                'Is the broker overloaded, frozen or starting? Check its log and the load of its machine.'];
        }

        return ($step === self::SASL ? $this->explainSasl($text, $hasNoToken) : $this->explainTls($step, $text))
            ?? [$step, lcfirst($text), 'Check the log of the broker; is this the port of Kafka?'];
    }

    /** @return array{string, string, string}|null */
    private function explainTls(string $step, string $text): ?array
    {
        if (!$this->usesTls()) {
            return $this->certificate === null ? null
                : [self::API, 'this port uses TLS, but ' . self::PROTOCOL . " is {$this->security['protocol']}",
                    'Set it to ' . ($this->usesSasl() ? 'sasl_ssl' : 'ssl (or sasl_ssl, with user and password)')
                    . ', and security.ca (KAFKA_SSL_CA_LOCATION) for a private authority.'];
        }
        if ($this->certificate === null) {
            return preg_match('/PLAINTEXT|wrong version|record layer/', $text) !== 1 ? null
                : [self::TLS, 'this port does not use TLS', 'Use the port of the listener with TLS, or set '
                    . self::PROTOCOL . ' to ' . ($this->usesSasl() ? 'sasl_plaintext.' : 'plaintext.')];
        }
        if (str_contains($text, 'verif')) {
            $isNameVerified = $this->security['verify_name'];

            return [self::TLS, ...$this->certificate->explain($this->host, $isNameVerified, $this->security['ca'])];
        }

        return $this->security['certificate'] !== null ? null
            : [self::TLS,
                'the broker closes the connection after the handshake: it probably requires a client certificate',
                'Set security.certificate and security.key (KAFKA_SSL_CERTIFICATE_LOCATION, KAFKA_SSL_KEY_LOCATION) '
                    . 'to PEM files that its authority has signed, or use a port without ssl.client.auth=required.'];
    }

    /** @return array{string, string, string}|null */
    private function explainSasl(string $text, bool $hasNoToken): ?array
    {
        ['username' => $user, 'mechanism' => $mechanism] = $this->security;
        if (!$this->usesSasl()) {
            return [self::SASL, 'the broker closes connections without authentication, but ' . self::PROTOCOL
                    . " is {$this->security['protocol']}",
                'Set it to ' . ($this->usesTls() ? 'sasl_ssl' : 'sasl_plaintext')
                    . ', and security.mechanism, security.username and security.password.'];
        }
        if (preg_match('/supported mechanisms: (.*)/', $text, $match) === 1) {
            $offered = array_filter(array_map('trim', explode(',', $match[1])));

            return [self::SASL, "the broker does not offer $mechanism here; it offers: " . (implode(', ', $offered) ?: 'nothing'),
                $offered === [] ? 'Enable SASL on this listener (sasl.enabled.mechanisms), or use another port.'
                    : 'Set security.mechanism (KAFKA_SASL_MECHANISM) to ' . implode(' or ', $offered) . '.'];
        }
        if ($mechanism === 'OAUTHBEARER') {
            return $hasNoToken
                ? [self::SASL, "security.token returns no token: $text", 'Fix the cause that the exception names.']
                : [self::SASL, 'the broker rejects the token of security.token',
                    'Is the token for this cluster (issuer, audience, scope), signed with a key that the broker knows, '
                    . 'and not expired? The reason is in the log of the broker.'];
        }
        if (stripos($text, 'authentication') === false) {
            return null;
        }

        return [self::SASL, "the broker rejects the user $user with $mechanism: wrong user name or password",
            'Check security.username and security.password (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD). '
            . ($mechanism === 'PLAIN' ? 'Users for PLAIN are in the JAAS configuration of the broker.'
                : "Does the user exist? On a broker: kafka-configs.sh --describe --entity-type users --entity-name $user")];
    }
}
