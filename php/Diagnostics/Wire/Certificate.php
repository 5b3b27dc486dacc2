<?php

/**
 * The relevant fields of a broker's certificate.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

use OpenSSLCertificate;

final class Certificate
{
    /**
     * @param list<string> $names DNS names and IP addresses
     * @param int $from Unix seconds
     * @param int $until Unix seconds
     */
    public function __construct(
        public readonly string $subject,
        public readonly string $issuer,
        public readonly array $names,
        public readonly int $from,
        public readonly int $until
    ) {
    }

    public static function of(OpenSSLCertificate $certificate): self
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
            (int) ($about['validTo_time_t'] ?? 0)
        );
    }

    /**
     * True if the certificate is valid for the host; `*` matches the first label.
     */
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

    /** @param array<string, mixed> $name */
    private static function common(array $name): string
    {
        $common = $name['CN'] ?? $name['O'] ?? '';

        return (string) (is_array($common) ? end($common) : $common);
    }
}
