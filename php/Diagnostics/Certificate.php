<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics;

use OpenSSLCertificate;

/** The relevant fields of a broker's certificate. */
final class Certificate
{
    /**
     * @param list<string> $names DNS names and IP addresses
     * @param int $from Unix seconds
     * @param int $until Unix seconds
     * @param string $protocol of the connection: `TLSv1.3`
     */
    public function __construct(
        public readonly string $subject,
        public readonly string $issuer,
        public readonly array $names,
        public readonly int $from,
        public readonly int $until,
        public readonly string $protocol = 'TLS'
    ) {
    }

    /**
     * Reads a broker's certificate without verifying it; nothing is sent over the connection.
     *
     * @param float $timeout of the connection, and of the handshake, in seconds
     *
     * @return self|null null: the port does not use TLS, or PHP has no openssl extension
     */
    public static function read(string $host, int $port, float $timeout): ?self
    {
        if (!extension_loaded('openssl')) {
            return null;
        }
        $options = [
            'peer_name' => trim($host, '[]'), 'verify_peer' => false, 'verify_peer_name' => false,
            'capture_peer_cert' => true, 'SNI_enabled' => true,
        ];
        $context = stream_context_create(['ssl' => $options]);
        $stream = @stream_socket_client("tls://$host:$port", $code, $why, $timeout, STREAM_CLIENT_CONNECT, $context);
        $found = stream_context_get_options($context)['ssl']['peer_certificate'] ?? null;
        if (!$found instanceof OpenSSLCertificate) {
            return null;
        }
        $protocol = $stream === false ? 'TLS' : (stream_get_meta_data($stream)['crypto']['protocol'] ?? 'TLS');

        return self::of($found, (string) $protocol);
    }

    private static function of(OpenSSLCertificate $certificate, string $protocol): self
    {
        $about = openssl_x509_parse($certificate) ?: [];
        $names = [];
        foreach (explode(',', (string) ($about['extensions']['subjectAltName'] ?? '')) as $name) {
            [, $value] = explode(':', trim($name), 2) + [1 => ''];
            $names[] = trim($value);
        }
        $names = array_values(array_filter($names, static fn (string $name): bool => $name !== ''));
        $common = self::common($about['subject'] ?? []);

        return new self(
            $common,
            self::common($about['issuer'] ?? []),
            $names === [] && $common !== '' ? [$common] : $names,
            (int) ($about['validFrom_time_t'] ?? 0),
            (int) ($about['validTo_time_t'] ?? 0),
            $protocol
        );
    }

    /** True if the certificate is valid for the host; `*` matches the first label. */
    public function isFor(string $host): bool
    {
        $host = strtolower(trim($host, '[]'));
        foreach ($this->names as $name) {
            $name = strtolower($name);
            $packed = @inet_pton($name);
            $fits = $name === $host || $packed !== false && $packed === @inet_pton($host);
            if (!$fits && str_starts_with($name, '*.')) {
                $fits = substr($name, 1) === (string) strstr($host, '.');
            }
            if ($fits) {
                return true;
            }
        }

        return false;
    }

    /**
     * Explains why the certificate is not accepted.
     *
     * @param bool $isNameVerified true if it must be valid for the host
     * @param string|null $ca the trusted authority; null: those of the system
     *
     * @return array{string, string} reason and remedy
     */
    public function explain(string $host, bool $isNameVerified, ?string $ca): array
    {
        $now = time();
        $who = "the broker's certificate ($this->subject, issued by $this->issuer)";
        if ($this->until < $now) {
            $days = intdiv($now - $this->until, 86400);
            $ago = $days === 0 ? 'less than a day' : ($days === 1 ? 'one day' : "$days days");

            return ["$who expired on " . gmdate('Y-m-d H:i', $this->until) . " UTC, $ago ago",
                'Renew the certificate on that broker (its key store), and reload or restart it. Until then no client '
                    . 'connects there.'];
        }
        if ($this->from > $now) {
            return ["$who is valid only from " . gmdate('Y-m-d H:i', $this->from) . ' UTC on',
                'Is the clock of this machine correct? Compare `date -u` on both machines.'];
        }
        if ($isNameVerified && !$this->isFor($host)) {
            return ["$who is for " . implode(', ', array_slice($this->names, 0, 5)) . ", not for $host",
                'Use the name in the certificate in `brokers` and in advertised.listeners, or install a certificate '
                    . "that has $host among its names (subjectAltName)."];
        }

        return ["$who is not signed by a trusted authority (" . ($ca ?? 'those of the system') . ')',
            'Set security.ca (KAFKA_SSL_CA_LOCATION) to the PEM file of the authority that signs the brokers\' '
                . 'certificates.'];
    }

    /** @param array<string, mixed> $name */
    private static function common(array $name): string
    {
        $common = $name['CN'] ?? $name['O'] ?? '';

        return (string) (is_array($common) ? end($common) : $common);
    }
}
