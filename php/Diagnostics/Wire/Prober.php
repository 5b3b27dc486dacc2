<?php

/**
 * Connects to a broker step by step (DNS, TCP, TLS, SASL, first request) and explains which step failed.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

final class Prober
{
    private const PROTOCOL = 'security.protocol (KAFKA_SECURITY_PROTOCOL)';

    /**
     * @param float $timeout timeout per step, in seconds
     */
    public function __construct(private Security $security, private float $timeout)
    {
    }

    /**
     * @param string $address `host:port`, `[v6]:port`
     */
    public function probe(string $address): Probe
    {
        $probe = new Probe($address);
        [$host, $port] = self::split($address);
        try {
            $this->connect($probe, $host, $port);
        } catch (WireException $e) {
            $probe->failure = $e;
        } catch (ConnectionClosed $e) {
            $probe->failure = $this->explainClosed($host, $port, $e);
        }

        return $probe;
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

    private function connect(Probe $probe, string $host, int $port): void
    {
        $start = microtime(true);
        $connection = Connection::open($host, $port, $this->timeout);
        $probe->passed[] = 'TCP ' . max(1, (int) round((microtime(true) - $start) * 1000)) . ' ms';
        if ($this->security->usesTls()) {
            $probe->certificate = $this->certificate($host, $port);
            $probe->passed[] = $this->secure($connection, $probe->certificate, $host);
        }
        $client = new ProtocolClient($connection);
        $versions = $client->versions();
        if ($this->security->usesSasl()) {
            $client->authenticate($this->security);
            $probe->passed[] = $this->security->mechanism
                . ($this->security->username === null ? '' : " as {$this->security->username}");
        }
        $probe->cluster = $client->cluster();
        $probe->client = $client;
        // Clusters of other kinds and older ones would close the connection.
        if ($client->supportsTime($versions)) {
            $this->clock($probe, $client);
        }
    }

    /** Keeps the fastest of three requests: its error is at most half of its duration. */
    private function clock(Probe $probe, ProtocolClient $client): void
    {
        $best = INF;
        for ($i = 0; $i < 3; $i++) {
            $before = microtime(true);
            try {
                $theirs = $client->time();
            } catch (WireException | ConnectionClosed) {
                // The broker forwards the request; the cluster's controller does not respond.
                $probe->hasController = false;
                $probe->client = null;

                return;
            }
            $took = microtime(true) - $before;
            if ($theirs === null) {
                return;
            }
            if ($took < $best) {
                $best = $took;
                $probe->behind = $theirs - $before - $took / 2;
            }
        }
    }

    private function certificate(string $host, int $port): Certificate
    {
        try {
            return Connection::open($host, $port, $this->timeout)->certificate($this->security);
        } catch (WireException $e) {
            throw $e->step === WireException::TLS && $this->speaksPlain($host, $port) ? new WireException(
                WireException::TLS,
                'this port does not use TLS',
                'Use the port of the listener with TLS, or set ' . self::PROTOCOL . ' to '
                    . ($this->security->usesSasl() ? 'sasl_plaintext.' : 'plaintext.')
            ) : $e;
        }
    }

    private function secure(Connection $connection, Certificate $certificate, string $host): string
    {
        try {
            return $connection->secure($this->security) . ', certificate valid until '
                . gmdate('Y-m-d', $certificate->until);
        } catch (WireException $e) {
            throw $this->explainCertificate($certificate, $host) ?? $e;
        }
    }

    private function explainCertificate(Certificate $certificate, string $host): ?WireException
    {
        $now = time();
        $who = "the broker's certificate ($certificate->subject, issued by $certificate->issuer)";
        if ($certificate->until < $now) {
            return new WireException(
                WireException::TLS,
                "$who expired on " . gmdate('Y-m-d H:i', $certificate->until) . ' UTC, '
                    . self::days($now - $certificate->until) . ' ago',
                'Renew the certificate on that broker (its key store), and reload or restart it. Until then no client '
                    . 'connects there.'
            );
        }
        if ($certificate->from > $now) {
            return new WireException(
                WireException::TLS,
                "$who is valid only from " . gmdate('Y-m-d H:i', $certificate->from) . ' UTC on',
                'Is the clock of this machine correct? Compare `date -u` on both machines.'
            );
        }
        if ($this->security->verifyName && !$certificate->isFor($host)) {
            return new WireException(
                WireException::TLS,
                "$who is for " . implode(', ', array_slice($certificate->names, 0, 5)) . ", not for $host",
                'Use the name in the certificate in `brokers` and in advertised.listeners, or install a '
                    . "certificate that has $host among its names (subjectAltName)."
            );
        }

        return new WireException(
            WireException::TLS,
            "$who is not signed by a trusted authority ("
                . ($this->security->ca === null ? 'those of the system' : $this->security->ca) . ')',
            'Set security.ca (KAFKA_SSL_CA_LOCATION) to the PEM file of the authority that signs the brokers\' '
                . 'certificates.'
        );
    }

    /** Explains why the broker closed the connection. */
    private function explainClosed(string $host, int $port, ConnectionClosed $end): WireException
    {
        if (!$this->security->usesTls() && !$end->afterResponse && $this->speaksTls($host, $port)) {
            return new WireException(
                WireException::API,
                'this port uses TLS, but ' . self::PROTOCOL . " is {$this->security->protocol}",
                'Set it to ' . ($this->security->usesSasl() ? 'sasl_ssl' : 'ssl (or sasl_ssl, with user and password)')
                    . ', and security.ca (KAFKA_SSL_CA_LOCATION) for a private authority.'
            );
        }
        if (!$this->security->usesSasl() && $end->afterResponse) {
            $wanted = $this->security->usesTls() ? 'sasl_ssl' : 'sasl_plaintext';

            return new WireException(
                WireException::SASL,
                'the broker closes connections without '
                    . 'authentication, but ' . self::PROTOCOL . " is {$this->security->protocol}",
                "Set it to $wanted, and security.mechanism, security.username and security.password."
            );
        }

        if ($this->security->usesTls() && !$end->afterResponse && $this->security->certificate === null) {
            return new WireException(
                WireException::TLS,
                'the broker closes the connection after the handshake: it probably requires a client certificate',
                'Set security.certificate and security.key (KAFKA_SSL_CERTIFICATE_LOCATION, '
                    . 'KAFKA_SSL_KEY_LOCATION) to PEM '
                    . 'files that its authority has signed, or use a port without ssl.client.auth=required.'
            );
        }

        return new WireException(
            $end->afterResponse && $this->security->usesSasl() ? WireException::SASL : WireException::API,
            $end->getMessage() . ' without a response',
            'Check the log of the broker; is this the port of Kafka?'
        );
    }

    private function speaksPlain(string $host, int $port): bool
    {
        try {
            (new ProtocolClient(Connection::open($host, $port, $this->timeout)))->versions();

            return true;
        } catch (WireException | ConnectionClosed) {
            return false;
        }
    }

    private function speaksTls(string $host, int $port): bool
    {
        if (!extension_loaded('openssl')) {
            return false;
        }
        try {
            Connection::open($host, $port, $this->timeout)->certificate(new Security('ssl'));

            return true;
        } catch (WireException) {
            return false;
        }
    }

    private static function days(int $seconds): string
    {
        $days = intdiv($seconds, 86400);

        return $days === 0 ? 'less than a day' : ($days === 1 ? 'one day' : "$days days");
    }
}
